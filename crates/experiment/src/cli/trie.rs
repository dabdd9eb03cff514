//! `syncabel trie`: a look inside a token trie.

use anyhow::Result;
use std::path::PathBuf;
use syncabel_decode::Trie;

/// Trie subcommands.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Nodes, bytes per part, branching by depth and share of forced tokens of a trie; verifies every checksum.
    #[command(after_help = "Example: syncabel trie inspect names.trie")]
    Inspect(InspectArgs),
}

/// Arguments of `trie inspect`.
#[derive(Debug, clap::Args)]
pub(super) struct InspectArgs {
    /// Trie file, as `syncabel link --trie` writes it.
    trie: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(command: Command) -> Result<()> {
    let Command::Inspect(args) = command;
    let trie = Trie::open_any(&args.trie)?;
    trie.verify(&args.trie)?;
    let stats = trie.stats();
    if args.json {
        println!("{}", serde_json::to_string_pretty(&stats)?);
    } else {
        println!("knowledge base        {}", trie.kb_digest());
        println!("tokenizer             {}", trie.tokenizer_digest());
        print!("{stats}");
    }
    Ok(())
}
