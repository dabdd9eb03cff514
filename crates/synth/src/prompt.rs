//! From a concept to the two messages that ask a language model for sentences.
//!
//! The wording is in template files, one pair for each language (`prompts/en/system.j2`, `prompts/en/user.j2`, ...),
//! compiled in and replaceable by a folder of one's own. The system message (task, format, worked examples) is the same for
//! every concept, so that a server can keep what it computed for it; the user message holds the context
//! examples and what the KB says of the concept.
//!
//! Templates are strict: a field that does not exist is an error when they are loaded, before anything is sent.

use std::path::{Path, PathBuf};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior};
use serde::{Deserialize, Serialize};
use syncabel_corpus::Language;
use syncabel_kb::Kb;
use syncabel_llm::{Message, Role};

use crate::Error;
use crate::contexts::Sentence;
use crate::generator::{Batch, Task, stable_hash};

/// What a prompt asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PromptOptions {
    /// What the sentences should read like: `abstract`, `note`, or a description of one's own in the language of the
    /// prompt.
    pub style: String,
    /// Fewest words of a sentence; the paper's number for the language where left out (15; Spanish 10).
    pub min_words: Option<usize>,
    /// Most words of a sentence; the paper's number for the language where left out (30; Spanish 25).
    pub max_words: Option<usize>,
    /// Human sentences of the same group shown as context, at most.
    pub examples: usize,
    /// Shows these sentences as questions that were answered before, each with what the KB says of its own concept, instead of
    /// a list in the question. Small models follow a format that they see themselves use.
    pub turns: bool,
    /// Names shown, the preferred one first; a concept may have hundreds.
    pub max_names: usize,
    /// Folder with `system.j2` and `user.j2` instead of the built-in templates.
    pub templates: Option<PathBuf>,
}

impl Default for PromptOptions {
    fn default() -> Self {
        PromptOptions {
            style: "abstract".to_owned(),
            min_words: None,
            max_words: None,
            examples: 5,
            turns: false,
            max_names: 40,
            templates: None,
        }
    }
}

impl PromptOptions {
    /// Fewest and most words of a sentence in a language.
    pub fn words(&self, language: Language) -> (usize, usize) {
        let (min, max) = match language {
            Language::Es => (10, 25),
            Language::En | Language::Fr | Language::De => (15, 30),
        };
        (self.min_words.unwrap_or(min), self.max_words.unwrap_or(max))
    }
}

/// What a line with a sentence begins with in a language, without the blank that follows.
pub fn marker(language: Language) -> &'static str {
    match language {
        Language::En => "example:",
        Language::Fr => "exemple :",
        Language::Es => "ejemplo:",
        Language::De => "Beispiel:",
    }
}

/// Loaded templates with the options they are filled with.
#[derive(Debug)]
pub struct Prompts {
    environment: Environment<'static>,
    digest: String,
    system: String,
    language: Language,
    options: PromptOptions,
}

#[derive(Serialize)]
struct SystemFields<'a> {
    style: &'a str,
    min_words: usize,
    max_words: usize,
    marker: String,
}

#[derive(Serialize)]
struct UserFields<'a> {
    concept: ConceptFields<'a>,
    examples: Vec<&'a str>,
    kept: &'a [String],
    count: usize,
    min_words: usize,
    max_words: usize,
}

#[derive(Serialize)]
struct ConceptFields<'a> {
    code: &'a str,
    name: &'a str,
    group: &'a str,
    types: Vec<&'a str>,
    definitions: Vec<&'a str>,
    names: Vec<&'a str>,
}

const SYSTEM: &str = "system.j2";
const USER: &str = "user.j2";

impl Prompts {
    /// Loads the templates of a language, or those of `options.templates`, and tries them.
    ///
    /// # Errors
    /// [`Error::Template`] with file and line; [`Error::PromptOptions`].
    pub fn new(language: Language, options: &PromptOptions) -> Result<Self, Error> {
        let (min_words, max_words) = options.words(language);
        if min_words == 0 || min_words > max_words {
            return Err(Error::PromptOptions {
                message: format!(
                    "`min_words` {min_words} and `max_words` {max_words}: the first must be at least 1 and not above the second"
                ),
            });
        }
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        let lines_of_their_own = SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build();
        environment.set_syntax(lines_of_their_own.expect("no delimiter is changed"));
        let mut texts = String::new();
        for (file, built_in) in [(SYSTEM, built_in(language).0), (USER, built_in(language).1)] {
            let (name, text) = match &options.templates {
                None => (format!("{language}/{file}"), built_in.to_owned()),
                Some(folder) => read(&folder.join(file))?,
            };
            texts.push_str(&text);
            environment
                .add_template_owned(file, text)
                .map_err(|error| template_error(&name, &error))?;
        }
        let mut prompts = Prompts {
            environment,
            digest: format!("{:016x}", stable_hash(0, &[texts.as_bytes()])),
            system: String::new(),
            language,
            options: options.clone(),
        };
        prompts.system = prompts.render(
            SYSTEM,
            &SystemFields {
                style: &options.style,
                min_words,
                max_words,
                marker: format!("{} ", marker(language)),
            },
        )?;
        prompts.rehearse()?;
        Ok(prompts)
    }

    /// Language of prompt and sentences.
    pub fn language(&self) -> Language {
        self.language
    }

    /// The options.
    pub fn options(&self) -> &PromptOptions {
        &self.options
    }

    /// Changes with the text of the templates.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The system message, the same for every concept.
    pub fn system(&self) -> &str {
        &self.system
    }

    /// The conversation that asks for a task: `count` sentences, other than those `kept` from earlier answers.
    ///
    /// # Errors
    /// [`Error::Template`].
    pub fn conversation(
        &self,
        batch: &Batch<'_>,
        task: &Task,
        count: usize,
        kept: &[String],
    ) -> Result<Vec<Message>, Error> {
        let mut messages = vec![Message::new(Role::System, self.system())];
        if self.options.turns {
            for example in batch.examples(task, self.options.examples) {
                messages.extend(self.turn(batch.kb, example)?.into_iter().flatten());
            }
        }
        let user = self.user(batch, task, count, kept)?;
        messages.push(Message::new(Role::User, user));
        Ok(messages)
    }

    /// A human sentence as the answer to a question about its concept; none for one that is about several.
    fn turn(&self, kb: &Kb, sentence: &Sentence) -> Result<Option<[Message; 2]>, Error> {
        let concept = match &sentence.codes[..] {
            [code] if sentence.single => kb.resolve(code),
            _ => None,
        };
        let Some(concept) = concept else {
            return Ok(None);
        };
        let task = Task {
            concept,
            group: sentence.group,
        };
        let fields = self.fields(self.concept(kb, &task), Vec::new(), 1, &[]);
        let answer = format!("{} {}", marker(self.language), sentence.bracketed());
        Ok(Some([
            Message::new(Role::User, self.render(USER, &fields)?),
            Message::new(Role::Assistant, answer),
        ]))
    }

    /// The last message of [`conversation`](Self::conversation).
    ///
    /// # Errors
    /// [`Error::Template`].
    pub fn user(
        &self,
        batch: &Batch<'_>,
        task: &Task,
        count: usize,
        kept: &[String],
    ) -> Result<String, Error> {
        let listed = if self.options.turns {
            0
        } else {
            self.options.examples
        };
        let examples = batch.examples(task, listed);
        let examples = examples.into_iter().map(Sentence::bracketed).collect();
        let concept = self.concept(batch.kb, task);
        self.render(USER, &self.fields(concept, examples, count, kept))
    }

    fn fields<'a>(
        &self,
        concept: ConceptFields<'a>,
        examples: Vec<&'a str>,
        count: usize,
        kept: &'a [String],
    ) -> UserFields<'a> {
        let (min_words, max_words) = self.options.words(self.language);
        UserFields {
            concept,
            examples,
            kept,
            count,
            min_words,
            max_words,
        }
    }

    fn concept<'k>(&self, kb: &'k Kb, task: &Task) -> ConceptFields<'k> {
        let concept = kb.concept(task.concept);
        let names = kb.names_of(task.concept, task.group).map(|name| name.text);
        ConceptFields {
            code: concept.code(),
            name: concept.preferred_name(),
            group: kb.group_name(task.group),
            types: concept.semantic_types().collect(),
            definitions: concept.definitions().collect(),
            names: names.take(self.options.max_names).collect(),
        }
    }

    /// Fills the user template with everything and with nothing, so that no branch of it fails later.
    fn rehearse(&self) -> Result<(), Error> {
        let concept = |list: Vec<&'static str>| ConceptFields {
            code: "C0",
            name: "name",
            group: "group",
            types: list.clone(),
            definitions: list.clone(),
            names: list,
        };
        let one = ["one".to_owned()];
        self.render(USER, &self.fields(concept(vec![]), vec![], 1, &[]))?;
        self.render(
            USER,
            &self.fields(concept(vec!["one"]), vec!["one"], 2, &one),
        )?;
        Ok(())
    }

    fn render(&self, file: &str, fields: &impl Serialize) -> Result<String, Error> {
        let name = match &self.options.templates {
            None => format!("{}/{file}", self.language),
            Some(folder) => folder.join(file).display().to_string(),
        };
        let template = self.environment.get_template(file);
        let text = template.and_then(|template| template.render(Serde(fields)));
        text.map(|text| text.trim().to_owned())
            .map_err(|error| template_error(&name, &error))
    }
}

fn built_in(language: Language) -> (&'static str, &'static str) {
    macro_rules! pair {
        ($language:literal) => {
            (
                include_str!(concat!("../prompts/", $language, "/system.j2")),
                include_str!(concat!("../prompts/", $language, "/user.j2")),
            )
        };
    }
    match language {
        Language::En => pair!("en"),
        Language::Fr => pair!("fr"),
        Language::Es => pair!("es"),
        Language::De => pair!("de"),
    }
}

fn read(path: &Path) -> Result<(String, String), Error> {
    let name = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => Ok((name, text)),
        Err(error) => Err(Error::Template {
            file: name,
            line: None,
            message: error.to_string(),
        }),
    }
}

fn template_error(file: &str, error: &minijinja::Error) -> Error {
    let detail = error.detail().unwrap_or_default();
    Error::Template {
        file: file.to_owned(),
        line: error.line(),
        message: format!("{}: {detail}", error.kind())
            .trim_end_matches([':', ' '])
            .to_owned(),
    }
}
