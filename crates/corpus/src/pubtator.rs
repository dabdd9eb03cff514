//! PubTator: `PMID|t|title`, `PMID|a|abstract`, then one tab-separated line per mention
//! (`PMID start end text type [codes [component texts]]`) and per relation (`PMID type id id [novelty]`), documents apart by a
//! blank line. A mention without codes has no concept yet: it is one to be linked.
//!
//! The text of a document is the title, one space, and the abstract; offsets are Unicode code points of that text. What `|` and `+` mean in
//! the codes is a matter of the corpus: [`crate::PubtatorRules`]. Relations and the component column are counted and not kept.
//!
//! Real files hold a few surprises, and each has its rule. A document that occurs twice identically is dropped once
//! and counted; two that differ are an error. A mention whose text differs from the covered text by nothing but white space
//! is accepted and counted, and the covered text is kept; any other difference is an error with both texts. Blanks
//! around codes are ignored. `-1` and an empty field mean that there is no concept. A row that starts like a relation but says where in the text
//! one of its own fields stands is a mention with its columns in another order or a mistyped offset, and an error.

use std::io::Write;
use std::path::Path;

use crate::document::{Corpus, Document, Mention, Origin, SpanChars};
use crate::error::{Error, Location};
use crate::format::{ReadOptions, ReadReport};
use crate::io::{Lines, NewFile};
use crate::sentence;
use crate::stream::Source;
use crate::text::CharIndex;

/// Writes a PubTator file, gzip if the name ends in `.gz`; codes in the form of [`crate::Gold::to_field`]
/// (read it back with the `explicit` rules), `-1` for none.
///
/// The title is the first sentence, where one space follows it, else the whole text. Tabs and line breaks in the text become
/// spaces, one for one, so offsets hold.
///
/// # Errors
/// [`Error::NotRepresentable`] for a discontinuous mention and for an id with a bar, a tab or a line break; [`Error::Io`].
pub fn write(corpus: &Corpus, path: &Path) -> Result<(), Error> {
    let mut file = NewFile::create(path)?;
    for document in &corpus.documents {
        let block = block(document)?;
        file.write_all(block.as_bytes()).map_err(Error::io(path))?;
    }
    file.finish()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Section {
    Title,
    Abstract,
}

/// `ID|t|text` or `ID|a|text`.
fn text_line(line: &str) -> Option<(&str, Section, &str)> {
    let (id, rest) = line.split_once('|')?;
    if id.contains('\t') {
        return None;
    }
    let (section, text) = rest.split_once('|')?;
    match section {
        "t" => Some((id, Section::Title, text)),
        "a" => Some((id, Section::Abstract, text)),
        _ => None,
    }
}

/// The documents of a file, one by one.
pub(crate) struct Blocks {
    lines: Lines,
    options: ReadOptions,
    /// The document whose lines are being read.
    open: Option<Block>,
}

impl Blocks {
    pub(crate) fn open(path: &Path, options: &ReadOptions) -> Result<Self, Error> {
        Ok(Blocks {
            lines: Lines::open(path)?,
            options: options.clone(),
            open: None,
        })
    }

    /// The document whose lines have all been read, if there is one.
    fn close(&mut self, report: &mut ReadReport) -> Result<Option<(Document, Location)>, Error> {
        let block = self.open.take();
        block
            .map(|block| block.document(&self.options, report))
            .transpose()
    }
}

impl Source for Blocks {
    fn next(&mut self, report: &mut ReadReport) -> Result<Option<(Document, Location)>, Error> {
        while let Some(line) = self.lines.next_line()? {
            let line = line.to_owned();
            let at = self.lines.at();
            let mut complete = None;
            if line.trim().is_empty() {
                complete = self.close(report)?;
            } else if let Some((id, section, text)) = text_line(&line) {
                let continues = self
                    .open
                    .as_ref()
                    .is_some_and(|block| block.id == id && section == Section::Abstract);
                if !continues {
                    complete = self.close(report)?;
                    self.open = Some(Block::new(id, at.clone()));
                }
                // Just set above if it was not set before.
                if let Some(block) = &mut self.open {
                    block.add_text(section, text, &at)?;
                }
            } else {
                let block = self
                    .open
                    .as_mut()
                    .ok_or_else(|| structure(&at, "annotation before any `ID|t|title` line"))?;
                block.add_annotation(&line, at, report)?;
            }
            if complete.is_some() {
                return Ok(complete);
            }
        }
        self.close(report)
    }
}

/// A document while its lines come in.
struct Block {
    id: String,
    at: Location,
    title: Option<String>,
    body: Option<String>,
    rows: Vec<Row>,
    /// Rows that look like relations, with their places.
    relations: Vec<(Location, String)>,
}

struct Row {
    at: Location,
    start: u64,
    end: u64,
    text: String,
    label: String,
    codes: String,
}

impl Block {
    fn new(id: &str, at: Location) -> Self {
        Block {
            id: id.to_owned(),
            at,
            title: None,
            body: None,
            rows: Vec::new(),
            relations: Vec::new(),
        }
    }

    fn add_text(&mut self, section: Section, text: &str, at: &Location) -> Result<(), Error> {
        if section == Section::Abstract && self.title.is_none() {
            return Err(structure(at, "abstract before the title of its document"));
        }
        if !self.rows.is_empty() {
            return Err(structure(at, "text after the annotations of its document"));
        }
        let slot = match section {
            Section::Title => &mut self.title,
            Section::Abstract => &mut self.body,
        };
        match slot.replace(text.to_owned()) {
            None => Ok(()),
            Some(_) => Err(structure(at, "a second abstract for one document")),
        }
    }

    fn add_annotation(
        &mut self,
        line: &str,
        at: Location,
        report: &mut ReadReport,
    ) -> Result<(), Error> {
        let fields: Vec<&str> = line.split('\t').collect();
        let starts_with_letter = fields
            .get(1)
            .is_some_and(|f| f.starts_with(char::is_alphabetic));
        if fields[0].trim() != self.id {
            return Err(structure(
                &at,
                &format!(
                    "annotation of document {:?} among the lines of document {:?}",
                    fields[0], self.id
                ),
            ));
        }
        if starts_with_letter && matches!(fields.len(), 4 | 5) {
            // Only the complete text can tell.
            self.relations.push((at, line.to_owned()));
            return Ok(());
        }
        if !matches!(fields.len(), 5..=7) {
            return Err(Error::FieldCount {
                at,
                found: fields.len(),
                expected: "5 to 7 (id, start, end, text, type, codes, component texts; a mention to be linked may end with its type), or 4 or 5 for a relation, whose second field begins with a letter".to_owned(),
            });
        }
        report.component_columns += usize::from(fields.len() == 7);
        let offset = |field: &str, value: &str| {
            value.trim().parse::<u64>().map_err(|_| Error::NotANumber {
                at: at.clone(),
                field: field.to_owned(),
                value: value.to_owned(),
                expected: "an offset in characters",
            })
        };
        let (start, end) = (offset("start", fields[1])?, offset("end", fields[2])?);
        // No code is no concept, as an empty one is.
        let codes = fields.get(5).copied().unwrap_or_default();
        let [text, label, codes] = [fields[3], fields[4].trim(), codes].map(str::to_owned);
        self.rows.push(Row {
            at,
            start,
            end,
            text,
            label,
            codes,
        });
        Ok(())
    }

    /// The complete document and its place.
    fn document(
        self,
        options: &ReadOptions,
        report: &mut ReadReport,
    ) -> Result<(Document, Location), Error> {
        let mut text = self.title.unwrap_or_default();
        if let Some(body) = &self.body {
            text.push(' ');
            text.push_str(body);
        }
        let index = CharIndex::new(&text);
        for (at, row) in &self.relations {
            if let Some(problem) = mention_in_disguise(row, &index) {
                return Err(structure(at, &problem));
            }
            report.relation_lines += 1;
        }
        let mut mentions = Vec::with_capacity(self.rows.len());
        for row in self.rows {
            let (span, covered, same) = check_span(&row, &self.id, &index)?;
            report.white_space_differences += usize::from(!same);
            mentions.push(Mention {
                id: String::new(),
                spans: vec![span],
                text: covered,
                label: row.label,
                gold: options.pubtator.gold(&row.codes),
            });
        }
        let document = Document {
            id: self.id,
            text,
            language: options.language,
            split: None,
            origin: Origin::Human,
            mentions,
        };
        Ok((document, self.at))
    }
}

/// Why a row that looks like a relation is a mention, with its columns in another order or a mistyped offset; `None` for a relation.
///
/// Numbers do not tell: ids of genes are numbers as well, and a relation may have two side by side, each as small as an offset. The text
/// does. In a mention, two adjacent fields say where the words of a third stand: one is the number of the character where they begin (or
/// end), the other that of where they end (or begin), or one keystroke off it and then no number. A relation has its type, two ids and perhaps a
/// word such as `Novel`, and its ids say of none of them where it stands in the text. What a wrong number says cannot be told from an id: a
/// mention with its columns in another order and two numbers that do not fit its words passes for a relation.
fn mention_in_disguise(row: &str, index: &CharIndex<'_>) -> Option<String> {
    let fields: Vec<&str> = row.split('\t').map(str::trim).collect();
    // `-1` and lists of numbers are ids.
    let is_number = |field: &str| {
        field
            .split([',', ';', '|', '+'])
            .all(|id| id.parse::<i64>().is_ok())
    };
    let means = |field: &str, offset: u32| {
        let mistyped = || strsim::levenshtein(field, &offset.to_string()) <= 1;
        field.parse() == Ok(offset) || !is_number(field) && mistyped()
    };
    // The field before these is the id of the document.
    for left in 1..fields.len() - 1 {
        let (start_field, end_field) = (fields[left], fields[left + 1]);
        for (number, &words) in fields.iter().enumerate().skip(1) {
            // A field without a letter may be an id.
            if number == left || number == left + 1 || !words.contains(char::is_alphabetic) {
                continue;
            }
            let length = u32::try_from(words.chars().count()).ok()?;
            let begins = start_field.parse().ok().and_then(|start: u32| {
                let end = start.checked_add(length)?;
                means(end_field, end).then_some(SpanChars::new(start, end))
            });
            let ends = end_field.parse().ok().and_then(|end: u32| {
                let start = end.checked_sub(length)?;
                means(start_field, start).then_some(SpanChars::new(start, end))
            });
            let stands = |span: &SpanChars| index.slice(*span) == Some(words);
            if let Some(span) = begins.into_iter().chain(ends).find(stands) {
                return Some(format!(
                    "fields {} and {} are {start_field:?} and {end_field:?}, and {words:?} in field {} is the text at {}-{}: this is no relation but a mention; write it as id, start, end, text, type and, if it has any, codes",
                    left + 1,
                    left + 2,
                    number + 1,
                    span.start,
                    span.end
                ));
            }
        }
    }
    None
}

/// The span, the text it covers, and whether that is exactly the stated text (else it differs by white space only).
fn check_span(
    row: &Row,
    document: &str,
    index: &CharIndex<'_>,
) -> Result<(SpanChars, String, bool), Error> {
    let span = match (u32::try_from(row.start), u32::try_from(row.end)) {
        (Ok(start), Ok(end)) => Some(SpanChars::new(start, end)),
        _ => None,
    };
    let covered = span
        .and_then(|s| index.slice(s))
        .filter(|covered| !covered.is_empty());
    let (Some(span), Some(covered)) = (span, covered) else {
        return Err(Error::SpanOutside {
            at: row.at.clone(),
            document: document.to_owned(),
            mention: row.text.clone(),
            start: row.start,
            end: row.end,
            length_chars: index.len_chars(),
        });
    };
    let same = covered == row.text;
    let visible = |text: &str| {
        text.chars()
            .filter(|c| !c.is_whitespace())
            .collect::<String>()
    };
    if !same && visible(covered) != visible(&row.text) {
        return Err(Error::SpanText {
            at: row.at.clone(),
            document: document.to_owned(),
            start: span.start,
            end: span.end,
            covered: covered.to_owned(),
            stated: row.text.clone(),
        });
    }
    Ok((span, covered.to_owned(), same))
}

fn structure(at: &Location, problem: &str) -> Error {
    Error::Structure {
        at: at.clone(),
        problem: problem.to_owned(),
    }
}

/// One document as [`write()`] writes it.
///
/// # Errors
/// [`Error::NotRepresentable`], as there.
pub fn block(document: &Document) -> Result<String, Error> {
    let refuse = |what: String| Error::NotRepresentable {
        document: document.id.clone(),
        format: "PubTator",
        what,
    };
    let id = &document.id;
    if id.contains(['|', '\t', '\n', '\r']) {
        return Err(refuse("an id with a bar, a tab or a line break".to_owned()));
    }
    let text = one_line(&document.text);
    let (title, body) = match title_end_bytes(document) {
        Some(end) => (&text[..end], Some(&text[end + 1..])),
        None => (text.as_str(), None),
    };
    let mut block = format!("{id}|t|{title}\n");
    if let Some(body) = body {
        block.push_str(&format!("{id}|a|{body}\n"));
    }
    for mention in &document.mentions {
        let [span] = mention.spans.as_slice() else {
            return Err(refuse(format!("the discontinuous mention {}", mention.id)));
        };
        let codes = if mention.gold.is_none() {
            "-1".to_owned()
        } else {
            mention.gold.to_field()
        };
        let (covered, label) = (one_line(&mention.text), one_line(&mention.label));
        block.push_str(&format!(
            "{id}\t{}\t{}\t{covered}\t{label}\t{codes}\n",
            span.start, span.end
        ));
    }
    block.push('\n');
    Ok(block)
}

/// Byte position of the single space between the first sentence and the rest.
fn title_end_bytes(document: &Document) -> Option<usize> {
    let spans: Vec<SpanChars> = document
        .mentions
        .iter()
        .flat_map(|m| m.spans.iter().copied())
        .collect();
    let sentences = sentence::split(&document.text, document.language, &spans);
    let [first, second, ..] = sentences.as_slice() else {
        return None;
    };
    let index = CharIndex::new(&document.text);
    let end = index.byte(first.end)?;
    (second.start == first.end + 1 && document.text[end..].starts_with(' ')).then_some(end)
}

/// Tabs and line breaks as spaces, one for one. All of them are one byte long, so byte offsets hold too.
fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| {
            if matches!(c, '\t' | '\n' | '\r') {
                ' '
            } else {
                c
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CorpusFormat;
    use crate::format::PubtatorRules;

    fn read_text(text: &str, preset: &str) -> Result<(Corpus, ReadReport), Error> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.txt");
        std::fs::write(&path, text).unwrap();
        let options = ReadOptions {
            pubtator: PubtatorRules::preset(preset)?,
            ..ReadOptions::default()
        };
        crate::read(&path, CorpusFormat::Pubtator, &options)
    }

    fn error_of(text: &str) -> String {
        read_text(text, "bc5cdr").unwrap_err().to_string()
    }

    const HEAD: &str = "1|t|Gout.\n1|a|Gout hurts.\n";

    #[test]
    fn reads_documents_mentions_and_relations() {
        let text = format!(
            "\n{HEAD}1\t0\t4\tGout\tDisease\t D006073 \n1\t6\t10\tGout\tDisease\tA|B\tx|y\n1\tCID\tA\tB\n\n2|t|Été 𝛼 goutte\r\n2|a|\r\n2\t6\t12\tgoutte\tDisease\t-1\r\n"
        );
        let (corpus, report) = read_text(&text, "bc5cdr").unwrap();
        assert_eq!(corpus.documents[0].text, "Gout. Gout hurts.");
        assert_eq!(corpus.documents[0].mentions[0].id, "1.1");
        assert_eq!(corpus.documents[0].mentions[0].gold.to_field(), "D006073");
        assert_eq!(corpus.documents[0].mentions[1].gold.to_field(), "A+B");
        assert_eq!(corpus.documents[1].text, "Été 𝛼 goutte ");
        assert!(corpus.documents[1].mentions[0].gold.is_none());
        let expected = ReadReport {
            documents: 2,
            mentions: 3,
            without_concept: 1,
            composite: 1,
            component_columns: 1,
            relation_lines: 1,
            document_lines: vec![2, 8],
            ..ReadReport::default()
        };
        assert_eq!(report, expected);
    }

    #[test]
    fn mentions_without_codes_are_mentions_without_a_concept() {
        let rows = "1\t0\t4\tGout\tDisease\n1\t6\t10\tGout\tDisease \r\n1\tCID\tA\tB\n";
        let coded = "1\t0\t4\tGout\tDisease\t-1\n1\t6\t10\tGout\tDisease\t-1\n1\tCID\tA\tB\n";
        let read = |rows: &str| read_text(&format!("{HEAD}{rows}"), "bc5cdr").unwrap();
        let (corpus, report) = read(rows);
        assert_eq!((corpus, report.clone()), read(coded));
        assert_eq!((report.mentions, report.without_concept), (2, 2));
        // Whatever the rules make of `-1`, no code is no concept.
        let options = ReadOptions {
            pubtator: PubtatorRules {
                no_concept: Vec::new(),
                ..PubtatorRules::default()
            },
            ..ReadOptions::default()
        };
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.txt");
        std::fs::write(&path, format!("{HEAD}{rows}")).unwrap();
        let (corpus, _) = crate::read(&path, CorpusFormat::Pubtator, &options).unwrap();
        let mut mentions = corpus.documents[0].mentions.iter();
        assert!(mentions.all(|mention| mention.gold.is_none()));
    }

    const NOVEL: &str =
        "1|t|Novel Association of HD.\n1|a|rs429358 é near APOE and TP53 in Gout.\n";

    #[test]
    fn mentions_that_look_like_relations_are_refused() {
        let text = "Novel Association of HD. rs429358 é near APOE and TP53 in Gout.";
        let at = |words: &str| {
            let start = text[..text.find(words).unwrap()].chars().count();
            (start, start + words.chars().count())
        };
        let ((hd, hd_end), (gout, gout_end)) = (at("HD"), at("Gout"));
        for row in [
            // Columns in another order.
            format!("Disease\t{gout}\t{gout_end}\tGout"),
            format!("Gout\t{gout}\t{gout_end}\tDisease"),
            format!("Gout\t{gout}\t{gout_end}"),
            format!("D006073\t{gout}\t{gout_end}\tGout"),
            format!("Disease\tGout \t {gout} \t{gout_end}"),
            // One offset mistyped, too.
            format!("x{hd}\t{hd_end}\tHD\tDisease"),
            format!("x{hd}\t{hd_end}\tHD"),
            format!("l{}\t{gout_end}\tGout\tDisease", gout % 10),
            "O\t5\tNovel\tDisease".to_owned(),
            format!("Disease\tx{hd}\t{hd_end}\tHD"),
            format!("Disease\t{hd}\t{hd_end}.\tHD"),
        ] {
            let error = error_of(&format!("{NOVEL}1\tCID\tA\tB\n1\t{row}\n"));
            assert!(error.contains("x.txt:4: fields "), "{row:?} gave {error}");
            assert!(
                error.contains("no relation but a mention; write it as id, start, end"),
                "{row:?} gave {error}"
            );
        }
        let error = error_of(&format!("{HEAD}1\tDisease\t0\t4\tGout\n"));
        assert!(
            error.contains(
                "fields 3 and 4 are \"0\" and \"4\", and \"Gout\" in field 5 is the text at 0-4"
            ),
            "{error}"
        );
    }

    #[test]
    fn relations_are_skipped_whatever_their_ids() {
        let rows = [
            "CID\tD003042\tD014786",
            "CID\t-1\tD006073",
            "CID\tD003042|D003865\tD014786",
            "Association\tD003924\t3559\tNovel",
            // Genes, with numbers as small as offsets of this text.
            "Association\t12\t13\tNovel",
            "Association\t0\t2\tNovel",
            "Association\t5\t7\tNovel",
            "Bind\t0\t5\tNo",
            "Association\t348\trs429358\tNovel",
            "Association\t33\trs429358\tNovel",
            "Association\trs429358\t33\tNovel",
            "Association\tD003924\t5\tNovel",
            "Association\t-1\t5\tNovel",
            "Association\t6\t1,7\tNovel",
            "Positive_Correlation\t7157,3559\t7157\tNo",
            "Association\tGene|8622\tDisease|MESH:D009461",
            "Association\tGene@8622\tDisease@MESH:D009461",
            "CPR:4\tArg1:T13\tArg2:T56",
            "Bind\t1\t2\t3",
        ];
        for row in rows {
            let text = format!("{NOVEL}1\t{row}\n1\t58\t62\tGout\tDisease\n");
            let (corpus, report) = read_text(&text, "bc5cdr").unwrap();
            assert_eq!(report.relation_lines, 1, "{row}");
            assert_eq!(corpus.mention_count(), 1, "{row}");
        }
        // Two genes of any two numbers, unless they are the place of a word of the row.
        let mut refused = Vec::new();
        for (first, second) in (0..70).flat_map(|a| (0..70).map(move |b| (a, b))) {
            let row = format!("1\tAssociation\t{first}\t{second}\tNovel\n");
            match read_text(&format!("{NOVEL}{row}"), "explicit") {
                Ok((_, report)) => assert_eq!(report.relation_lines, 1, "{row}"),
                Err(_) => refused.push((first, second)),
            }
        }
        assert_eq!(refused, [(0, 5), (6, 17)]);
    }

    #[test]
    fn white_space_differences_are_counted_and_the_covered_text_is_kept() {
        let (corpus, report) = read_text(
            "1|t|a \"plus\" b\n1\t0\t8\ta \" plus \"  \tD\tX\n",
            "bc5cdr",
        )
        .unwrap();
        assert_eq!(report.white_space_differences, 1);
        assert_eq!(corpus.documents[0].mentions[0].text, "a \"plus\"");
        corpus.documents[0].validate().unwrap();
    }

    #[test]
    fn identical_copies_are_dropped_and_differing_ones_refused() {
        let one = format!("{HEAD}1\t0\t4\tGout\tDisease\tA\n\n");
        let (corpus, report) = read_text(&format!("{one}{one}"), "bc5cdr").unwrap();
        assert_eq!(
            (
                corpus.documents.len(),
                report.duplicate_documents,
                report.duplicate_mentions
            ),
            (1, 1, 1)
        );
        let error = error_of(&format!("{one}{HEAD}"));
        assert!(
            error.contains("x.txt:5") && error.contains("line 1"),
            "{error}"
        );
    }

    #[test]
    fn each_bad_line_is_named() {
        let cases = [
            ("1\tx\t4\tGout\tDisease\tA", "x.txt:3: start is \"x\""),
            ("1\t0\t-4\tGout\tDisease\tA", "x.txt:3: end is \"-4\""),
            (
                "1\t0\t4\tGout",
                "x.txt:3: 4 tab-separated fields, expected 5 to 7 (id, start, end, text, type, codes",
            ),
            ("1\t0\t4x\tGout\tDisease", "x.txt:3: end is \"4x\""),
            ("1\t-1\t4\tGout\tDisease", "x.txt:3: start is \"-1\""),
            ("1\t0\t4\tGoat\tDisease", "the annotation says \"Goat\""),
            (
                "1\t0\t4\tGout\tDisease\tA\tB\tC",
                "x.txt:3: 8 tab-separated fields",
            ),
            ("1\t0\t400\tGout\tDisease\tA", "x.txt:3: span 0-400"),
            (
                "1\t0\t99999999999\tGout\tDisease\tA",
                "x.txt:3: span 0-99999999999",
            ),
            ("1\t4\t4\t\tDisease\tA", "x.txt:3: span 4-4"),
            (
                "1\t0\t4\tGoat\tDisease\tA",
                "covers \"Gout\", the annotation says \"Goat\"",
            ),
            (
                "2\t0\t4\tGout\tDisease\tA",
                "x.txt:3: annotation of document \"2\"",
            ),
            ("nonsense", "x.txt:3: annotation of document \"nonsense\""),
            ("1|a|again", "x.txt:3: a second abstract"),
        ];
        for (line, message) in cases {
            let error = error_of(&format!("{HEAD}{line}\n"));
            assert!(error.contains(message), "{line:?} gave {error}");
        }
        assert!(error_of("1|a|x\n").contains("abstract before the title"));
        assert!(error_of("1\t0\t4\tGout\tDisease\tA\n").contains("before any"));
        assert!(error_of("\n \n").contains("is empty"));
    }

    #[test]
    fn writes_what_it_reads() {
        let text = format!("{HEAD}1\t0\t4\tGout\tDisease\tA+B|C\n1\t6\t10\tGout\tDisease\t-1\n\n");
        let (corpus, _) = read_text(&text, "explicit").unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.txt.gz");
        write(&corpus, &path).unwrap();
        let (again, _) =
            crate::read(&path, CorpusFormat::Pubtator, &ReadOptions::default()).unwrap();
        assert_eq!(again, corpus);
        assert_eq!(crate::io::read_to_string(&path).unwrap(), text);
    }

    #[test]
    fn discontinuous_mentions_are_refused_on_writing() {
        let (mut corpus, _) =
            read_text(&format!("{HEAD}1\t0\t4\tGout\tDisease\tA\n"), "explicit").unwrap();
        corpus.documents[0].mentions[0].spans = vec![SpanChars::new(0, 4), SpanChars::new(6, 10)];
        let dir = tempfile::tempdir().unwrap();
        let error = write(&corpus, &dir.path().join("x.txt"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("discontinuous mention 1.1"), "{error}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
