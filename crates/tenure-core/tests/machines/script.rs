//! What the two script languages share: lines of words and options, and the recording.
//!
//! A script is a `.txt` file; beside it lies its record, a `.snap` file with every command and
//! what came of it. To record anew: `INSTA_UPDATE=always cargo test -p tenure-core`. Commit a
//! changed record only when you understand what changed it.

use std::{fmt::Write, fs, path::Path, time::Duration};

use serde::Serialize;
use serde_json::Value as Json;

/// One command of a script, for example `campaign a1 demo as=a priority=5 ineligible`.
#[derive(Clone)]
pub(crate) struct Line<'a> {
    words: Vec<&'a str>,
    options: Vec<(&'a str, &'a str)>,
}

impl<'a> Line<'a> {
    fn parse(text: &'a str) -> Self {
        let (options, words): (Vec<_>, Vec<_>) =
            text.split_whitespace().partition(|word| word.contains('='));
        let options = options.into_iter().filter_map(|option| option.split_once('=')).collect();
        Self { words, options }
    }

    /// The word at this place; the command itself is word 0.
    pub(crate) fn word(&self, at: usize) -> &'a str {
        self.words.get(at).unwrap_or_else(|| panic!("word {at} is missing in {:?}", self.words))
    }

    pub(crate) fn has(&self, word: &str) -> bool {
        self.words.contains(&word)
    }

    pub(crate) fn option(&self, key: &str) -> Option<&'a str> {
        self.options.iter().find(|(known, _)| *known == key).map(|(_, value)| *value)
    }

    pub(crate) fn number<T: std::str::FromStr + Default>(&self, key: &str) -> T {
        let parse =
            |value: &str| value.parse().unwrap_or_else(|_| panic!("{key}={value} is not a number"));
        self.option(key).map(parse).unwrap_or_default()
    }

    pub(crate) fn duration(&self, key: &str) -> Option<Duration> {
        self.option(key).map(duration)
    }
}

/// `10ms` or `2s`.
pub(crate) fn duration(text: &str) -> Duration {
    let millis = match text.strip_suffix("ms") {
        Some(millis) => millis.parse(),
        None => text.strip_suffix('s').unwrap_or("").parse().map(|seconds: u64| seconds * 1000),
    };
    Duration::from_millis(millis.unwrap_or_else(|_| panic!("{text} is not a duration")))
}

/// Runs every script of a folder with a fresh `run` and compares with the records.
pub(crate) fn check_folder<R: FnMut(&Line<'_>) -> String>(folder: &str, start: impl Fn() -> R) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/machines/scripts").join(folder);
    let mut scripts: Vec<_> = fs::read_dir(&root)
        .expect("the folder of scripts can be read")
        .map(|entry| entry.expect("an entry of the folder").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    scripts.sort();
    assert!(!scripts.is_empty(), "there are no scripts in {}", root.display());
    for path in scripts {
        let text = fs::read_to_string(&path).expect("a script can be read");
        let record = record(&text, start());
        let name = path.file_stem().expect("a script has a name").to_string_lossy();
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path(&root);
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.bind(|| insta::assert_snapshot!(name.as_ref(), record));
    }
}

fn record(script: &str, mut run: impl FnMut(&Line<'_>) -> String) -> String {
    let mut record = String::new();
    for line in script.lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') {
            writeln!(record, "{line}").expect("writing to a string");
            continue;
        }
        writeln!(record, "> {line}").expect("writing to a string");
        for result in run(&Line::parse(line)).lines() {
            writeln!(record, "  {result}").expect("writing to a string");
        }
    }
    record
}

/// A value as one line, `name field=value ...`, whatever its type: a field that is nothing is
/// left out, and so is an empty text.
pub(crate) fn flat(value: &impl Serialize) -> String {
    let json = serde_json::to_value(value).expect("it can be written as JSON");
    let mut line = String::new();
    flatten(&mut line, "", &json);
    line.trim_start().to_owned()
}

fn flatten(line: &mut String, key: &str, json: &Json) {
    if let Some(text) = scalar(json) {
        let bare = key.is_empty() || key == "event";
        let label = if bare { String::new() } else { format!("{key}=") };
        line.push_str(&format!(" {label}{text}"));
        return;
    }
    let Json::Object(fields) = json else { return };
    if let Some(event) = fields.get("event") {
        flatten(line, "event", event);
    }
    for (key, field) in fields.iter().filter(|(key, _)| *key != "event") {
        // A variant or a nested value: its name, then its fields.
        if scalar(field).is_none() && field.is_object() && fields.len() == 1 {
            line.push_str(&format!(" {key}"));
        }
        flatten(line, key, field);
    }
}

fn scalar(json: &Json) -> Option<String> {
    match json {
        Json::String(text) if text.is_empty() => None,
        Json::String(text) => Some(text.clone()),
        Json::Number(_) | Json::Bool(_) => Some(json.to_string()),
        Json::Object(fields) => {
            let field = |key| fields.get(key).and_then(Json::as_u64);
            if let (Some(process), Some(number)) = (field("process"), field("number")) {
                return Some(format!("{:x}{number}", process >> 32));
            }
            let (seconds, nanos) = (field("secs")?, field("nanos")?);
            Some(format!("{:?}", Duration::new(seconds, u32::try_from(nanos).ok()?)))
        }
        Json::Null | Json::Array(_) => None,
    }
}
