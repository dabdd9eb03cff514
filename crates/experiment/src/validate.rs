//! What an experiment file must hold beyond the types of its keys: checked for every cell before any work starts, so that
//! a number that makes no sense is refused in a second and not after an hour of training.

use crate::config::{Experiment, ModelSourceConfig, ScratchConfig, SynthConfig};
use crate::overrides::{ARM, Cell};
use crate::scratch;
use syncabel_decode::Strategy as Search;
use syncabel_llm::RetryPolicy;
use syncabel_synth::quality::Filters;
use syncabel_train::Strategy;

/// A key that cannot stay as it is.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// Dotted path.
    pub(crate) key: String,
    /// What is wrong, and the way out.
    pub(crate) message: String,
}

type Check = Result<(), Refusal>;

fn refuse(key: impl Into<String>, message: impl Into<String>) -> Check {
    Err(Refusal {
        key: key.into(),
        message: message.into(),
    })
}

fn ensure(holds: bool, key: &str, message: &str) -> Check {
    if holds { Ok(()) } else { refuse(key, message) }
}

/// Checks the settings of one cell.
pub(crate) fn cell(config: &Experiment) -> Check {
    sources(config)?;
    synth(config)?;
    model(config)?;
    composition(config)?;
    config
        .train
        .validate()
        .map_err(|error| train_refusal("train", &error))?;
    link(config)?;
    ensure(
        config.eval.bootstrap.replicates > 0,
        "eval.bootstrap.replicates",
        "is 0; say at least 1 (the usual is 1000)",
    )
}

/// Checks what all cells share: the name, the axes and the arms of a sweep, the axes of the report.
pub(crate) fn sweep(config: &Experiment, cells: &[Cell]) -> Check {
    name(&config.name)?;
    ensure(
        config.jobs > 0,
        "jobs",
        "is 0; say how many cells run side by side, at least 1",
    )?;
    axes(config)?;
    labels(config, cells)?;
    report(config)
}

fn sources(config: &Experiment) -> Check {
    ensure(
        !config.kb.sources.is_empty(),
        "kb.sources",
        "names no terminology file; name at least one",
    )?;
    ensure(
        !config.corpus.test.is_empty(),
        "corpus.test",
        "names no file; there would be nothing to link",
    )?;
    share(
        "corpus.validation_share_to_train",
        config.corpus.validation_share_to_train,
    )
}

fn share(key: &str, value: f64) -> Check {
    match (0.0..=1.0).contains(&value) {
        true => Ok(()),
        false => refuse(key, format!("is {value}, which is not a share from 0 to 1")),
    }
}

fn synth(config: &Experiment) -> Check {
    let strategy = config.composition.strategy;
    let Some(synth) = &config.synth else {
        return match strategy {
            Strategy::HumanOnly => Ok(()),
            _ => refuse(
                "synth",
                format!("strategy `{strategy}` needs synthetic data; add a `synth` section"),
            ),
        };
    };
    if let SynthConfig::Transplant { per_concept: 0, .. } = synth {
        return refuse(
            "synth.per_concept",
            "is 0; say how many sentences each concept gets, at least 1",
        );
    }
    match synth {
        SynthConfig::Openai(model) => {
            ensure(model.server.is_some(), "synth.server", NEEDED)?;
            ensure(model.local.is_none(), "synth.local", NO_USE)?;
            let run = model.run.retry;
            let server = model.server.as_ref().map_or(run, |server| server.retry);
            ensure(
                server == RetryPolicy::default() || server == run,
                "synth.server.retry",
                "has no effect here: requests are repeated by the run, over all that are in flight; set `synth.run.retry` instead",
            )?;
        }
        SynthConfig::Local(model) => {
            ensure(model.local.is_some(), "synth.local", NEEDED)?;
            ensure(model.server.is_none(), "synth.server", NO_USE)?;
            ensure(
                model.sampling.extra.is_empty(),
                "synth.sampling.extra",
                "is for servers; a model in this process draws by temperature and top_p alone: leave it out",
            )?;
        }
        SynthConfig::Transplant { .. } | SynthConfig::Import(_) => {}
    }
    if let SynthConfig::Import(import) = synth {
        ensure(
            !import.files.is_empty() || import.hub.is_some(),
            "synth.files",
            "names no file; name at least one, or a data set with `synth.hub`",
        )?;
        if let Some((repo, revision)) = import.data_set() {
            syncabel_model::check_data_set_name(repo, revision)
                .or_else(|e| refuse("synth.hub", e.to_string()))?;
        }
    }
    round_trip(config, synth.filters())
}

const NEEDED: &str =
    "is missing, and this generator writes with it; see `experiments/embedded/language_model.yaml`";

const NO_USE: &str = "is of no use to this generator; `openai` needs `server`, `local` needs `local`: leave the other out";

fn round_trip(config: &Experiment, filters: &Filters) -> Check {
    let Some(filter) = &filters.round_trip else {
        return Ok(());
    };
    ensure(
        filter.top_k > 0,
        "synth.filters.round_trip.top_k",
        "is 0; say among how many answers the concept must be, at least 1",
    )?;
    ensure(
        config.composition.human_share > 0.0,
        "synth.filters.round_trip",
        "needs a linker trained on human data, and `composition.human_share` is 0; leave the filter out",
    )?;
    crate::round_trip::train_config(config, filter).map(drop)
}

fn model(config: &Experiment) -> Check {
    if let Err(error) = syncabel_model::device(&config.model.device) {
        return refuse("model.device", error.to_string());
    }
    match &config.model.source {
        ModelSourceConfig::Scratch(shape) => scratch_shape(shape),
        ModelSourceConfig::Hub(text) => {
            let (repo, revision) = text
                .split_once('@')
                .map_or((text.as_str(), None), |(r, v)| (r, Some(v)));
            syncabel_model::check_hub_name(repo, revision)
                .or_else(|e| refuse("model.source.hub", e.to_string()))
        }
        ModelSourceConfig::Folder(_) | ModelSourceConfig::Gguf(_) => Ok(()),
    }
}

fn scratch_shape(shape: &ScratchConfig) -> Check {
    let key = |name: &str| format!("model.source.scratch.{name}");
    let least = scratch::LEAST_VOCABULARY;
    if shape.vocabulary < least {
        let message = format!(
            "is {}; say at least {least}: every byte has an entry, and the end of a text and padding have theirs",
            shape.vocabulary
        );
        return refuse(key("vocabulary"), message);
    }
    for (name, value) in [
        ("hidden_size", shape.hidden_size),
        ("intermediate_size", shape.intermediate_size),
        ("layers", shape.layers),
        ("heads", shape.heads),
        ("kv_heads", shape.kv_heads),
    ] {
        ensure(value > 0, &key(name), "is 0; say at least 1")?;
    }
    let ScratchConfig {
        hidden_size,
        heads,
        kv_heads,
        ..
    } = *shape;
    if !hidden_size.is_multiple_of(2 * heads) {
        let message =
            format!("{heads} heads of even width do not divide `hidden_size` {hidden_size}");
        return refuse(key("heads"), message);
    }
    match heads.is_multiple_of(kv_heads) {
        true => Ok(()),
        false => refuse(
            key("kv_heads"),
            format!("{kv_heads} does not divide `heads` {heads}"),
        ),
    }
}

fn composition(config: &Experiment) -> Check {
    share("composition.human_share", config.composition.human_share)?;
    share(
        "composition.unseen_concept_share",
        config.composition.unseen_concept_share,
    )?;
    ensure(
        config.composition.human_share > 0.0 || config.composition.strategy != Strategy::HumanOnly,
        "composition.human_share",
        "is 0, and strategy `human_only` trains on nothing else; leave this cell out (say `arms` instead of `matrix`)",
    )
}

/// The training crate names its own key and value.
pub(crate) fn train_refusal(section: &str, error: &syncabel_train::Error) -> Refusal {
    match error {
        syncabel_train::Error::Config {
            key,
            value,
            expected,
        } => Refusal {
            key: format!("{section}.{key}"),
            message: format!("is {value}, which is not {expected}"),
        },
        other => Refusal {
            key: section.to_owned(),
            message: other.to_string(),
        },
    }
}

fn link(config: &Experiment) -> Check {
    let link = &config.link;
    for (key, value) in [
        ("link.beams", link.beams),
        ("link.max_new_tokens", link.max_new_tokens),
        ("link.max_answers", link.max_answers),
        ("link.batch", link.batch),
    ] {
        ensure(value > 0, key, "is 0; say at least 1")?;
    }
    let penalty = link.length_penalty.unwrap_or(1.0);
    ensure(
        penalty.is_finite(),
        "link.length_penalty",
        "must be a finite number",
    )?;
    let defect = link.options().search.within_defect();
    ensure(defect.is_none(), "link.within", defect.unwrap_or_default())?;
    if link.strategy == Search::BestFirst {
        ensure(
            link.guided,
            "link.strategy",
            "`best_first` needs the trie: set `link.guided: true`, or take `beam`",
        )?;
        ensure(
            syncabel_model::is_cpu(&config.model.device),
            "link.strategy",
            "`best_first` runs on CPUs only: set `model.device: flex`, or take `beam`",
        )?;
    }
    if link.lexical.is_some() {
        let defect = link.options().lexical_defect(link.guided);
        ensure(defect.is_none(), "link.lexical", defect.unwrap_or_default())?;
        ensure(
            syncabel_model::is_cpu(&config.model.device),
            "link.lexical",
            "runs on CPUs only: set `model.device: flex`, or leave it out",
        )?;
    }
    Ok(())
}

/// The name becomes a folder below `runs/` and `results/` and must not lead out of them.
fn name(name: &str) -> Check {
    let plain = |c: char| c.is_alphanumeric() || "._-+ ".contains(c);
    let safe = !name.trim().is_empty()
        && !name.starts_with('.')
        && name.trim() == name
        && name.chars().all(plain);
    ensure(
        safe,
        "name",
        "names a folder below `runs/` and `results/`: letters, digits, blanks, `.`, `_`, `-` and `+`, not beginning with `.`",
    )
}

/// Keys that hold for the experiment and not for a cell.
const SHARED: [&str; 7] = [
    "name",
    "description",
    "jobs",
    "report",
    "arms",
    "matrix",
    "eval",
];

fn axes(config: &Experiment) -> Check {
    let axes: Vec<&String> = config.matrix.keys().collect();
    overlap(&axes, "matrix", "another axis")?;
    for (arm, changes) in &config.arms {
        let keys: Vec<&String> = changes.keys().collect();
        overlap(&keys, &format!("arms.{arm}"), "the same arm")?;
    }
    for (path, values) in &config.matrix {
        let key = format!("matrix.{path}");
        ensure(
            !values.is_empty(),
            &key,
            "has no value, so there would be no cell; give at least one, or leave the axis out",
        )?;
        varies(&key, path)?;
    }
    for (arm, changes) in &config.arms {
        for path in changes.keys() {
            let key = format!("arms.{arm}.{path}");
            varies(&key, path)?;
            if let Some(axis) = config
                .matrix
                .keys()
                .find(|axis| within(axis, path) || within(path, axis))
            {
                let message =
                    format!("`matrix` sets `{axis}` as well and would win; leave one of them out");
                return refuse(key, message);
            }
        }
    }
    Ok(())
}

/// Of two keys that set the same, one would be lost, and labels would say otherwise.
fn overlap(paths: &[&String], section: &str, who: &str) -> Check {
    for (number, path) in paths.iter().enumerate() {
        let mut others = paths[..number].iter();
        if let Some(other) = others.find(|other| within(path, other) || within(other, path)) {
            let message = format!("{who} sets `{other}` as well; leave one of them out");
            return refuse(format!("{section}.{path}"), message);
        }
    }
    Ok(())
}

/// What the command line sets must hold somewhere: what a cell sets itself wins over it. Where only some cells do (an arm with
/// another generator, say), they are told.
pub(crate) fn assigned(cells: &[Cell], assigned: &[String]) -> Check {
    for set in assigned {
        let overrules = |cell: &&Cell| cell.changes.iter().any(|(path, _)| within(set, path));
        let overruling: Vec<String> = cells.iter().filter(overrules).map(Cell::label).collect();
        if overruling.len() == cells.len() {
            let message = "is set by `matrix` or `arms` for every cell, which would overrule `--set`; set those, or choose cells with `--only`";
            return refuse(set.as_str(), message);
        }
        if !overruling.is_empty() {
            tracing::warn!(
                "`--set {set}=...` changes nothing in {}",
                overruling.join(", ")
            );
        }
    }
    Ok(())
}

fn varies(key: &str, path: &str) -> Check {
    let root = path.split('.').next().unwrap_or(path);
    ensure(
        !SHARED.contains(&root),
        key,
        "is the same for all cells; it cannot be varied",
    )
}

/// Whether `path` is `section` or lies inside of it.
fn within(path: &str, section: &str) -> bool {
    path.strip_prefix(section)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Labels name folders: two cells of one label would overwrite each other.
fn labels(config: &Experiment, cells: &[Cell]) -> Check {
    let repeats = |values: &[serde_yaml::Value]| {
        values
            .iter()
            .enumerate()
            .any(|(i, v)| values[..i].contains(v))
    };
    if let Some((path, _)) = config.matrix.iter().find(|(_, values)| repeats(values)) {
        return refuse(
            format!("matrix.{path}"),
            "holds a value twice; leave one out",
        );
    }
    let mut seen = std::collections::BTreeMap::new();
    for cell in cells {
        let Some(before) = seen.insert(cell.label(), cell) else {
            continue;
        };
        let differing = cell
            .settings
            .iter()
            .zip(&before.settings)
            .find(|(a, b)| a.1 != b.1);
        let key = match differing.map_or(ARM, |(setting, _)| setting.0.as_str()) {
            ARM => "arms".to_owned(),
            path => format!("matrix.{path}"),
        };
        let label = cell.label();
        return refuse(
            key,
            format!(
                "two cells would have the label `{label}`, which names their folder; rename one"
            ),
        );
    }
    Ok(())
}

fn report(config: &Experiment) -> Check {
    let mut axes: Vec<&str> = config.matrix.keys().map(String::as_str).collect();
    if !config.arms.is_empty() {
        axes.insert(0, ARM);
    }
    for (key, value) in [
        ("report.rows", &config.report.rows),
        ("report.x", &config.report.x),
    ] {
        let Some(value) = value.as_deref().filter(|value| !axes.contains(value)) else {
            continue;
        };
        let known = match axes.is_empty() {
            true => "there is no sweep, leave it out".to_owned(),
            false => format!("the axes are {}", axes.join(", ")),
        };
        let nearest = crate::config::nearest(value, axes.iter().copied());
        let nearest = nearest.map_or(String::new(), |axis| format!("; did you mean `{axis}`?"));
        return refuse(
            key,
            format!("`{value}` is no axis of this experiment; {known}{nearest}"),
        );
    }
    if config.report.rows.is_some() {
        let shown = [
            config.report.rows.as_deref(),
            config.report.x.as_deref(),
            Some("seed"),
        ];
        if let Some(axis) = axes.iter().find(|axis| !shown.contains(&Some(**axis))) {
            let message = format!(
                "axis `{axis}` is neither `rows` nor `x`, so its cells would be averaged as if they were seeds; leave `rows` out"
            );
            return refuse("report.rows", message);
        }
    }
    Ok(())
}
