//! Chat templates: the text by which a model was taught who speaks.
//!
//! A template is a Jinja program that comes with the model: in `chat_template.jinja` or `tokenizer_config.json` of a folder, in
//! the metadata of a GGUF file. It is run as transformers runs it (blocks take their line end and indentation with them,
//! methods of Python's strings work, `raise_exception` is there).

use std::path::Path;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, ErrorKind, context};
use serde::Serialize;
use serde_json::Value;

use crate::tokenizer::TOKENIZER_CONFIG;
use crate::weights::gguf::GgufFile;
use crate::{Error, ModelSource, TextTokenizer};

/// One message of a conversation, as templates know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ChatMessage<'m> {
    /// `system`, `user` or `assistant`.
    pub role: &'m str,
    /// What is said.
    pub content: &'m str,
}

/// How a model wants a conversation written.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    bos: String,
    eos: String,
    ends: Vec<u32>,
}

/// File beside the tokenizer that holds nothing but the template.
const TEMPLATE_FILE: &str = "chat_template.jinja";

/// Spellings of tokens that end a turn or a text. A model has some of them, and its `eos_token` need not be the one that its
/// template closes a turn with.
const ENDS: [&str; 7] = [
    "<|im_end|>",
    "<|eot_id|>",
    "<|end_of_text|>",
    "<|endoftext|>",
    "<|end|>",
    "<end_of_turn>",
    "</s>",
];

impl ChatTemplate {
    /// The template that comes with a model, and the tokens of `tokenizer` that end a turn.
    ///
    /// # Errors
    /// [`Error::Malformed`] for a model without one or with one that is no template, errors of the files.
    pub fn read(source: &ModelSource, tokenizer: &TextTokenizer) -> Result<Self, Error> {
        let (path, found) = match source {
            ModelSource::Folder(folder) => (folder.clone(), in_folder(folder)?),
            ModelSource::Gguf(path) => (path.clone(), in_gguf(path)?),
            ModelSource::Hub { repo, revision } => {
                let folder = crate::hub::fetch(repo, revision.as_deref())?;
                let found = in_folder(&folder)?;
                (folder, found)
            }
        };
        let Some((template, bos)) = found else {
            let message = format!(
                "a model that is to chat needs its chat template (in {TEMPLATE_FILE}, in {TOKENIZER_CONFIG} or in the \
                 metadata of a GGUF file), and this one has none, as base models; use an instruction-tuned model"
            );
            return Err(Error::malformed(&path, message));
        };
        Self::new(template, bos, tokenizer).map_err(|e| Error::malformed(&path, explain(&e)))
    }

    fn new(
        template: String,
        bos: String,
        tokenizer: &TextTokenizer,
    ) -> Result<Self, minijinja::Error> {
        let mut environment = Environment::new();
        let whitespace = SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build()?;
        environment.set_syntax(whitespace);
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", |message: String| {
            Err::<String, _>(minijinja::Error::new(ErrorKind::InvalidOperation, message))
        });
        environment.add_template_owned("chat", template)?;
        let known = ENDS.iter().filter_map(|token| tokenizer.token_id(token));
        let mut ends: Vec<u32> = known.chain([tokenizer.eos_id()]).collect();
        ends.sort_unstable();
        ends.dedup();
        Ok(ChatTemplate {
            environment,
            bos,
            eos: tokenizer.decode(&[tokenizer.eos_id()]),
            ends,
        })
    }

    /// The conversation as the model reads it, up to where its answer begins.
    ///
    /// # Errors
    /// [`Error::Chat`] with the template's own words (some refuse a system message, or two questions in a row).
    pub fn prompt(&self, messages: &[ChatMessage<'_>]) -> Result<String, Error> {
        let fields = context! {
            messages => minijinja::Value::from(Serde(messages)),
            add_generation_prompt => true,
            bos_token => self.bos.as_str(),
            eos_token => self.eos.as_str(),
        };
        self.environment
            .get_template("chat")
            .and_then(|template| template.render(fields))
            .map_err(|e| Error::Chat {
                message: explain(&e),
            })
    }

    /// Tokens that end an answer, ascending.
    #[must_use]
    pub fn ends(&self) -> &[u32] {
        &self.ends
    }
}

fn explain(error: &minijinja::Error) -> String {
    let line = error
        .line()
        .map_or(String::new(), |n| format!(", line {n}"));
    format!("chat template{line}: {error}")
}

/// Template and start token.
type Found = Option<(String, String)>;

fn in_folder(folder: &Path) -> Result<Found, Error> {
    let config = match read(&folder.join(TOKENIZER_CONFIG))? {
        Some(text) => serde_json::from_str(&text)
            .map_err(|e| Error::malformed(&folder.join(TOKENIZER_CONFIG), e.to_string()))?,
        None => Value::Null,
    };
    let bos = match &config["bos_token"] {
        Value::Object(token) => token.get("content").and_then(Value::as_str),
        other => other.as_str(),
    };
    let template = match read(&folder.join(TEMPLATE_FILE))? {
        Some(template) => Some(template),
        None => in_config(&config["chat_template"]),
    };
    Ok(template.map(|template| (template, bos.unwrap_or_default().to_owned())))
}

/// A template, or the one named `default` of several.
fn in_config(value: &Value) -> Option<String> {
    let text = match value {
        Value::Array(several) => several
            .iter()
            .find(|entry| entry["name"] == "default")
            .and_then(|entry| entry["template"].as_str()),
        other => other.as_str(),
    };
    text.map(str::to_owned)
}

fn in_gguf(path: &Path) -> Result<Found, Error> {
    const TEMPLATE: &str = "tokenizer.chat_template";
    let file = GgufFile::open(path)?;
    if file.get(TEMPLATE).is_none() {
        return Ok(None);
    }
    let template = file.text(TEMPLATE)?.to_owned();
    let tokens = file.texts("tokenizer.ggml.tokens")?;
    let bos = file.token("tokenizer.ggml.bos_token_id")?;
    let bos = bos.and_then(|id| tokens.get(id as usize));
    Ok(Some((
        template,
        bos.copied().unwrap_or_default().to_owned(),
    )))
}

fn read(path: &Path) -> Result<Option<String>, Error> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::Read {
            path: path.to_owned(),
            source,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokenizers::models::wordlevel::WordLevel;
    use tokenizers::{AddedToken, Tokenizer};

    fn tokenizer() -> TextTokenizer {
        let mut inner = Tokenizer::new(WordLevel::default());
        let special = ["</s>", "<|im_end|>"].map(|token| AddedToken::from(token, true));
        inner.add_special_tokens(special).unwrap();
        TextTokenizer::from_tokenizer(inner, 0)
    }

    const QUESTION: [ChatMessage<'_>; 2] = [
        ChatMessage {
            role: "system",
            content: " Be brief. ",
        },
        ChatMessage {
            role: "user",
            content: "Why?",
        },
    ];

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    fn template(files: &[(&str, &str)]) -> Result<ChatTemplate, Error> {
        let folder = folder(files);
        ChatTemplate::read(&ModelSource::Folder(folder.path().into()), &tokenizer())
    }

    #[test]
    fn templates_run_as_transformers_runs_them() {
        let text = "{{ bos_token }}{% for m in messages %}\n    {% if m.role == 'user' %}\n[{{ m.content }}]\n    {% else %}\n({{ m['content'].strip() }})\n    {% endif %}\n{% endfor %}\n{% if add_generation_prompt %}>{% endif %}";
        let config = r#"{"bos_token": {"content": "<s>"}, "chat_template": "unused"}"#;
        let chat = template(&[(TEMPLATE_FILE, text), (TOKENIZER_CONFIG, config)]).unwrap();
        assert_eq!(chat.prompt(&QUESTION).unwrap(), "<s>(Be brief.)\n[Why?]\n>");
        assert_eq!(chat.ends(), [0, 1]);
    }

    #[test]
    fn the_default_of_several_is_taken_and_refusals_are_heard() {
        let config = r#"{"chat_template": [
            {"name": "tools", "template": "x"},
            {"name": "default", "template": "{{ raise_exception('no system role') }}"}]}"#;
        let chat = template(&[(TOKENIZER_CONFIG, config)]).unwrap();
        let error = chat.prompt(&QUESTION).unwrap_err().to_string();
        assert!(error.contains("no system role"), "{error}");
    }

    #[test]
    fn what_is_no_template_is_said_with_the_file() {
        let error = template(&[(TEMPLATE_FILE, "{% if %}")]).unwrap_err();
        assert!(error.to_string().contains("line 1"), "{error}");
        let error = template(&[(TOKENIZER_CONFIG, "{}")]).unwrap_err();
        assert!(error.to_string().contains(TEMPLATE_FILE), "{error}");
    }
}
