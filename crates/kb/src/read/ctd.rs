//! The vocabularies that CTD publishes; the format is described in `docs/ctd.md`.

use std::path::Path;

use super::Concepts;
use super::lines::{Place, for_each_line};
use crate::{Error, RawConcept};

/// The columns of a file that does not name them.
const DISEASES: &str = "DiseaseName\tDiseaseID\tAltDiseaseIDs\tDefinition\tParentIDs\tTreeNumbers\tParentTreeNumbers\tSynonyms\tSlimMappings";

pub(super) fn read(path: &Path, default_group: Option<&str>) -> Result<Concepts, Error> {
    let mut columns = Columns::of(DISEASES);
    let mut read = Concepts::default();
    for_each_line(path, |place, line| {
        if let Some(comment) = line.strip_prefix('#') {
            let comment = comment.trim();
            if comment.starts_with("DiseaseName\t") || comment.starts_with("ChemicalName\t") {
                columns = Columns::of(comment);
            }
        } else if !line.trim().is_empty() {
            read.concepts
                .push(concept(place, line, &columns, default_group)?);
        }
        Ok(())
    })?;
    Ok(read)
}

/// Names of columns, in their order.
struct Columns(Vec<String>);

impl Columns {
    fn of(header: &str) -> Self {
        Columns(header.split('\t').map(|c| c.trim().to_owned()).collect())
    }

    /// The trimmed field of the first column that has one of these names; blank without such a column.
    fn field<'l>(&self, fields: &[&'l str], names: &[&str]) -> &'l str {
        let column = self.0.iter().position(|c| names.contains(&c.as_str()));
        column.map_or("", |c| fields[c].trim())
    }

    /// The group where no default is given.
    fn group(&self) -> &'static str {
        match self.0.first().is_some_and(|c| c == "ChemicalName") {
            true => "Chemical",
            false => "Disease",
        }
    }
}

fn concept(
    place: Place<'_>,
    line: &str,
    columns: &Columns,
    default_group: Option<&str>,
) -> Result<RawConcept, Error> {
    let fields: Vec<&str> = line.split('\t').collect();
    if fields.len() != columns.0.len() {
        return Err(Error::FieldCount {
            path: place.path.to_owned(),
            line: place.line,
            expected: format!("{} (those of CTD's `# Fields`)", columns.0.len()),
            found: fields.len(),
        });
    }
    let needed = |field: &'static str, names: &[&str]| match columns.field(&fields, names) {
        "" => Err(Error::MissingField {
            at: place.location(),
            field,
        }),
        value => Ok(value.to_owned()),
    };
    let list = |name: &str| -> Vec<String> {
        let values = columns.field(&fields, &[name]).split('|').map(str::trim);
        values
            .filter(|v| !v.is_empty())
            .map(str::to_owned)
            .collect()
    };
    let codes = |name: &str| list(name).iter().map(|code| bare(code)).collect();
    let name = needed("name", &["DiseaseName", "ChemicalName"])?;
    let mut names = vec![name.clone()];
    names.extend(list("Synonyms"));
    let definition = columns.field(&fields, &["Definition"]);
    Ok(RawConcept {
        code: bare(&needed("code", &["DiseaseID", "ChemicalID"])?),
        alt_codes: codes("AltDiseaseIDs"),
        preferred_name: name,
        names,
        groups: vec![default_group.unwrap_or(columns.group()).to_owned()],
        definitions: Vec::from_iter((!definition.is_empty()).then(|| definition.to_owned())),
        parents: codes("ParentIDs"),
        location: place.location(),
        ..RawConcept::default()
    })
}

/// A code without the name of its vocabulary, where the rest says it all.
fn bare(code: &str) -> String {
    let prefixes = ["MESH:", "OMIM:", "DO:"];
    let rest = prefixes
        .iter()
        .find_map(|prefix| code.strip_prefix(prefix))
        .map(str::trim)
        .filter(|rest| !rest.is_empty());
    rest.unwrap_or(code).to_owned()
}

#[cfg(test)]
mod tests {
    use crate::{SourceFormat, read_source};

    const FILE: &str = "# CTD, a comment of ours\n#\n# Fields:\n\
        # DiseaseName\tDiseaseID\tAltDiseaseIDs\tDefinition\tParentIDs\tTreeNumbers\tParentTreeNumbers\tSynonyms\tSlimMappings\n#\n\
        Asthma\tMESH:D001249\tDO:DOID:2841|OMIM:600807\tAirways that narrow | and open.\tMESH:D001982|MESH:D012130\tC08.127.108\tC08.127\tAsthmas|Bronchial Asthma\tRespiratory tract disease\n\
        Tooth Agenesis, Selective, 6\tOMIM:613097\t\t\t\t\t\t\t\n";

    fn file(text: &str) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("CTD_diseases.tsv");
        std::fs::write(&path, text).unwrap();
        (dir, path)
    }

    #[test]
    fn diseases_have_names_codes_definitions_and_parents() {
        let (_dir, path) = file(FILE);
        assert_eq!(SourceFormat::guess(&path), Some(SourceFormat::Ctd));
        let concepts = read_source(&path, SourceFormat::Ctd, None).unwrap();
        let asthma = &concepts[0];
        assert_eq!(asthma.code, "D001249");
        assert_eq!(asthma.alt_codes, ["DOID:2841", "600807"]);
        assert_eq!(asthma.names, ["Asthma", "Asthmas", "Bronchial Asthma"]);
        assert_eq!(asthma.definitions, ["Airways that narrow | and open."]);
        assert_eq!(asthma.parents, ["D001982", "D012130"]);
        assert_eq!(asthma.groups, ["Disease"]);
        assert_eq!(asthma.location.line, 6);
        assert_eq!(concepts[1].code, "613097");
        assert!(concepts[1].alt_codes.is_empty() && concepts[1].definitions.is_empty());
    }

    #[test]
    fn the_comment_says_which_columns_there_are() {
        let (_dir, path) = file(
            "# ChemicalName\tChemicalID\tCasRN\tSynonyms\nImatinib\tMESH:D000068877\t1-2-3\tGleevec\n",
        );
        let concepts = read_source(&path, SourceFormat::Ctd, None).unwrap();
        assert_eq!(concepts[0].names, ["Imatinib", "Gleevec"]);
        assert_eq!(concepts[0].groups, ["Chemical"]);
        let grouped = read_source(&path, SourceFormat::Ctd, Some("Drugs")).unwrap();
        assert_eq!(grouped[0].groups, ["Drugs"]);
    }

    #[test]
    fn the_wrong_reader_says_which_is_right() {
        let (_dir, path) = file(FILE);
        for format in [SourceFormat::Medic, SourceFormat::Tsv] {
            let error = read_source(&path, format, None).unwrap_err().to_string();
            assert!(
                error.contains(":1:") && error.contains("format ctd"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_line_that_is_short_or_nameless_is_refused() {
        for (line, needle) in [
            ("Asthma\tMESH:D1\n", ":7: 2 fields where 9"),
            ("\tMESH:D1\t\t\t\t\t\t\t\n", ":7: `name` is missing"),
            ("Asthma\t \t\t\t\t\t\t\t\n", ":7: `code` is missing"),
        ] {
            let first: String = FILE.lines().take(6).map(|l| format!("{l}\n")).collect();
            let (_dir, path) = file(&(first + line));
            let error = read_source(&path, SourceFormat::Ctd, None)
                .unwrap_err()
                .to_string();
            assert!(error.contains(needle), "{error}");
        }
    }
}
