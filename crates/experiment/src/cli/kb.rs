//! `syncabel kb`: terminology files to a KB artefact, and a look inside.

use crate::config::with_nearest;
use crate::error::BadInput;
use anyhow::Result;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use syncabel_kb::select::TfidfIndex;
use syncabel_kb::{BuildOptions, GroupId, Kb, SourceFormat};

/// KB subcommands.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Read terminology files, clean and disambiguate their names, write a KB.
    #[command(
        after_help = "Example: syncabel kb build CTD_diseases.tsv.gz --group Disorders --out medic.kb"
    )]
    Build(BuildArgs),
    /// Concepts, names, groups, collisions and bytes of a KB; verifies every checksum.
    #[command(after_help = "Example: syncabel kb inspect medic.kb")]
    Inspect(InspectArgs),
    /// Find concepts by code or name.
    #[command(after_help = "Example: syncabel kb lookup medic.kb \"hay fever\"")]
    Lookup(LookupArgs),
    /// Print every name that can be predicted, one on a line, by group and bytes.
    #[command(after_help = "Example: syncabel kb names medic.kb --codes > names.tsv")]
    Names(NamesArgs),
}

/// Arguments of `kb build`.
#[derive(Debug, clap::Args)]
pub(super) struct BuildArgs {
    /// Terminology files, gzipped or not.
    #[arg(required = true)]
    sources: Vec<PathBuf>,
    /// medic (as BioSyn writes it), ctd (as CTD publishes it), obo, tsv, jsonl or parquet; guessed from each file name
    /// where left out.
    #[arg(long)]
    format: Option<String>,
    /// Semantic group of concepts that name none.
    #[arg(long)]
    group: Option<String>,
    /// A YAML file with build options (cleaning and disambiguation).
    #[arg(long, value_name = "YAML")]
    options: Option<PathBuf>,
    /// Folder to write.
    #[arg(long)]
    out: PathBuf,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

/// Arguments of `kb inspect`.
#[derive(Debug, clap::Args)]
pub(super) struct InspectArgs {
    /// KB folder.
    kb: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Arguments of `kb lookup`.
#[derive(Debug, clap::Args)]
pub(super) struct LookupArgs {
    /// KB folder.
    kb: PathBuf,
    /// A code or a name.
    query: String,
    /// Look for names in this semantic group only.
    #[arg(long)]
    group: Option<String>,
    /// Nearest names shown (TF-IDF over character 3-grams); 0 for none.
    #[arg(long, default_value_t = 5)]
    nearest: usize,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Arguments of `kb names`.
#[derive(Debug, clap::Args)]
pub(super) struct NamesArgs {
    /// KB folder.
    kb: PathBuf,
    /// Names of this semantic group only.
    #[arg(long)]
    group: Option<String>,
    /// The code of each name behind it, after a tab.
    #[arg(long)]
    codes: bool,
}

pub(super) fn run(command: Command) -> Result<()> {
    match command {
        Command::Build(args) => build(args),
        Command::Inspect(args) => inspect(args),
        Command::Lookup(args) => lookup(args),
        Command::Names(args) => names(args),
    }
}

fn names(args: NamesArgs) -> Result<()> {
    let kb = Kb::open(&args.kb)?;
    let only = group_of(&kb, args.group.as_deref())?;
    let mut out = super::io::stdout();
    for (group, _) in kb
        .groups()
        .filter(|(group, _)| only.is_none_or(|o| o == *group))
    {
        for name in kb.names(group) {
            if args.codes {
                writeln!(out, "{}\t{}", name.text, kb.concept(name.concept).code())?;
            } else {
                writeln!(out, "{}", name.text)?;
            }
        }
    }
    out.flush()?;
    Ok(())
}

fn build(args: BuildArgs) -> Result<()> {
    let options = match &args.options {
        Some(path) => read_options(path)?,
        None => BuildOptions::default(),
    };
    let mut concepts = Vec::new();
    let mut digests = Vec::new();
    for path in &args.sources {
        let format = source_format(path, args.format.as_deref())?;
        let source = syncabel_kb::load(path, format, args.group.as_deref())?;
        concepts.extend(source.concepts);
        digests.push(source.digest);
    }
    let (kb, report) = syncabel_kb::build(concepts, digests, &options)?;
    kb.write(&args.out)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{report}");
    }
    eprintln!("wrote {} (digest {})", args.out.display(), kb.digest());
    Ok(())
}

fn read_options(path: &Path) -> Result<BuildOptions> {
    let wrong = |message: &str| BadInput(format!("{}: {message}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|e| wrong(&e.to_string()))?;
    let options = serde_yaml::from_str(&text);
    options.map_err(|e| wrong(&with_nearest(&e.to_string())).into())
}

fn source_format(path: &Path, format: Option<&str>) -> Result<SourceFormat> {
    match format {
        Some(name) => Ok(SourceFormat::from_str(name)?),
        None => crate::pipeline::guess_source(path),
    }
}

fn inspect(args: InspectArgs) -> Result<()> {
    let kb = Kb::open(&args.kb)?;
    kb.verify()?;
    let inspection = syncabel_kb::inspect(&kb)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&inspection)?);
    } else {
        print!("{inspection}");
    }
    Ok(())
}

/// The group of this name; none if none is asked for.
fn group_of(kb: &Kb, name: Option<&str>) -> Result<Option<GroupId>> {
    let Some(name) = name else { return Ok(None) };
    let known = || kb.groups().map(|(_, n)| n).collect::<Vec<_>>().join(", ");
    let refused = || BadInput(format!("the KB has no group `{name}`; it has {}", known()));
    Ok(Some(kb.group_id(name).ok_or_else(refused)?))
}

fn lookup(args: LookupArgs) -> Result<()> {
    let kb = Kb::open(&args.kb)?;
    let group = group_of(&kb, args.group.as_deref())?;
    let index = (args.nearest > 0).then(|| TfidfIndex::fit(&kb));
    let found = syncabel_kb::lookup(&kb, &args.query, group, index.as_ref(), args.nearest);
    if args.json {
        println!("{}", serde_json::to_string_pretty(&found)?);
    } else {
        print!("{found}");
    }
    Ok(())
}
