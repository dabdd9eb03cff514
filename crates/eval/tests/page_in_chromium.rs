//! The page in a browser: headless Chromium opens ten thousand mentions and shows what it should.

use std::io::Write;
use std::path::Path;
use std::process::Command;

use syncabel_corpus::predictions::Prediction;
use syncabel_eval::page::{System, render};
use syncabel_eval::{EvalOptions, TrainingSet, score};

const MENTIONS: u32 = 10_000;

/// Mentions of the page that are one word, an abbreviation.
fn is_short(i: u32) -> bool {
    i.is_multiple_of(5)
}

/// Mentions of the page whose concept is in the training data.
fn is_seen(i: u32) -> bool {
    i % 700 < 350
}

/// Two systems of ten thousand mentions, each without one that the other has.
fn page() -> String {
    let codes: Vec<String> = (0..350).map(|i| format!("C{i:07}")).collect();
    let training =
        TrainingSet::from_fields(codes.iter().map(|code| (code.as_str(), "joint pain")), None);
    let row = |system: u32| {
        move |i: u32| Prediction {
            filename: format!("d{}", i / 20),
            label: ["Disorders", "Chemicals", "Anatomy"][i as usize % 3].into(),
            start_span: i,
            end_span: i + 9,
            span: if is_short(i) { "JP" } else { "joint pain" }.into(),
            code: format!("C{:07}", i % 700),
            annotation: if i.is_multiple_of(7) {
                "JP"
            } else {
                "Arthralgia"
            }
            .into(),
            sentence: format!(
                "On day {i} the patient reported [joint pain]{{Disorders}} after a long walk, which eased with rest and came back."
            ),
            prediction: "Pain in joint".into(),
            predicted_code: format!(
                "C{:07}",
                if (i + system).is_multiple_of(4) {
                    1
                } else {
                    i % 700
                }
            ),
            prediction_score: f64::from(i % 100) / 100.0,
            prediction_beam_score: f64::from(i % 90) / 100.0,
            probability: Some(f64::from(i % 80) / 100.0),
            ..Prediction::default()
        }
    };
    let sets: [Vec<Prediction>; 2] = [
        (0..MENTIONS - 1).map(row(0)).collect(),
        (1..MENTIONS).map(row(1)).collect(),
    ];
    let options = EvalOptions::default();
    let scored = sets
        .each_ref()
        .map(|set| score(set, Some(&training), None, &options).unwrap());
    let reports = scored.each_ref().map(|s| s.report(&options).unwrap());
    let systems = [0, 1].map(|i| System {
        name: ["before", "after"][i].to_owned(),
        predictions: &sets[i],
        scored: &scored[i],
        report: &reports[i],
    });
    render("Ten thousand mentions", &systems, &[]).unwrap()
}

/// The document after the page's script ran; `None` where there is no Chromium.
fn opened(page: &Path, profile: &Path) -> Option<String> {
    let mut command = Command::new("chromium");
    command
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(format!("file://{}", page.display()));
    let Ok(output) = command.output() else {
        // not `eprintln!`: the test harness would swallow it in a test that passes
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: `chromium` is absent, the page is not opened"
        );
        return None;
    };
    Some(String::from_utf8(output.stdout).unwrap())
}

fn attribute(document: &str, name: &str) -> u32 {
    let start = document
        .find(&format!("{name}=\""))
        .unwrap_or_else(|| panic!("no {name}: the script did not reach its end"))
        + name.len()
        + 2;
    let value = document[start..].split('"').next().unwrap();
    value.parse().unwrap()
}

/// The table of mentions.
fn browser(document: &str) -> &str {
    let table = document.split("id=\"mentions\"").nth(1).unwrap();
    table.split("</table>").next().unwrap()
}

#[test]
fn ten_thousand_mentions_open_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("page.html");
    std::fs::write(&path, page()).unwrap();
    let mut fastest = u32::MAX;
    // The best of three, for a machine may do something else as well.
    for _ in 0..3 {
        let Some(document) = opened(&path, folder.path()) else {
            return;
        };
        assert_eq!(browser(&document).matches("<tr ").count(), 51);
        let count = "10000 of 10000 mentions; before 7499 of its 9999 right (75.0 %); after";
        assert!(document.contains(count));
        assert!(
            document.contains("not scored in this file"),
            "the first mention is new to one system"
        );
        assert!(
            document.contains("after has it, before does not"),
            "a filter for such mentions"
        );
        // From the request of the page to the end of its script: reading, parsing and building included.
        fastest = fastest.min(attribute(&document, "data-opened"));
    }
    let _ = writeln!(std::io::stderr(), "10,000 mentions opened in {fastest} ms");
    // A quiet machine stays below one second; a busy one must not fail for being busy.
    assert!(fastest < 3000, "{fastest} ms");
}

/// Sorts by the scores of the first system, filters, turns pages back and forth by keyboard focus, and looks for names.
const VISITOR: &str = r##"<script>
const nameOf = (e) => e.getAttribute("aria-label") || (e.labels && e.labels.length > 0 && e.labels[0].firstChild.textContent)
  || (e.matches("button, a, summary") && e.textContent) || "";
document.querySelectorAll("#mentions thead button")[2].click();
const label = [...document.querySelectorAll("#filters label")].find((l) => l.textContent.startsWith("Outcome"));
const outcome = label.querySelector("select");
outcome.value = "before right, after wrong";
outcome.dispatchEvent(new Event("change"));
const [previous, next] = document.querySelectorAll(".pager button");
next.click();
previous.focus();
previous.click();
document.body.dataset.focused = Number(document.activeElement === previous && previous.getAttribute("aria-disabled") === "true");
previous.click();
next.click();
const controls = [...document.querySelectorAll("button, input, select, a, summary")];
document.body.dataset.controls = controls.length;
document.body.dataset.nameless = controls.filter((e) => nameOf(e).trim() === "").length;
</script></body>"##;

#[test]
fn headings_filters_and_pagers_do_what_they_say() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("page.html");
    std::fs::write(&path, page().replace("</body>", VISITOR)).unwrap();
    let Some(document) = opened(&path, folder.path()) else {
        return;
    };
    // Every fourth mention from 3 on, save the last, which `before` lacks.
    let count = "2499 of 10000 mentions; before 2499 right (100.0 %); after 0 right (0.0 %)";
    assert!(document.contains(count));
    assert!(document.contains(">Page 2 of 50<"));
    let rows: Vec<&str> = browser(&document).split("<tr ").skip(2).collect();
    assert_eq!(rows.len(), 50);
    // The hundred lowest scores are those of mentions 3, 103, and so on.
    for (row, mention) in rows.iter().zip((5003..).step_by(100)) {
        assert!(row.contains(&format!("On day {mention} the")), "{row}");
        let scores = format!(
            "score 0.030, beam {:.3}, probability {:.3}",
            f64::from(mention % 90) / 100.0,
            f64::from(mention % 80) / 100.0
        );
        assert!(row.contains(&scores), "{row}");
    }
    assert_eq!(attribute(&document, "data-focused"), 1);
    assert!(attribute(&document, "data-controls") > 20);
    assert_eq!(attribute(&document, "data-nameless"), 0);
}

/// Filters by strata, notes what is left, and clears the filters.
const SEEKER: &str = r##"<script>
const boxes = new Map([...document.querySelectorAll("#filters label")].map((l) => [l.firstChild.textContent, l.querySelector("select")]));
const choose = (name, value) => {
  boxes.get(name).value = value;
  boxes.get(name).dispatchEvent(new Event("change"));
};
const left = () => parseInt(document.getElementById("count").textContent);
document.body.dataset.strata = [...boxes.keys()].slice(1).join("; ");
choose("Abbreviation", "yes");
document.body.dataset.short = left();
choose("Concept", "unseen");
document.body.dataset.unseen = left();
document.body.dataset.tags = document.querySelector("#mentions .tags").textContent;
[...document.querySelectorAll("#filters button")].find((b) => b.textContent === "Clear all filters").click();
document.body.dataset.cleared = left();
choose("String with its concept", "seen");
document.body.dataset.pairs = left();
</script></body>"##;

#[test]
fn every_stratum_is_a_filter() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("page.html");
    std::fs::write(&path, page().replace("</body>", SEEKER)).unwrap();
    let Some(document) = opened(&path, folder.path()) else {
        return;
    };
    let filters = "Outcome; Group; Concept; Mention string; String with its concept; Concept by frequency; \
                   String by frequency; Mention and target name; Words; Abbreviation";
    assert!(
        document.contains(&format!("data-strata=\"{filters}\"")),
        "{}",
        document
            .split("data-strata")
            .nth(1)
            .unwrap_or_default()
            .split('>')
            .next()
            .unwrap_or_default()
    );
    let count = |keep: fn(u32) -> bool| (0..MENTIONS).filter(|&i| keep(i)).count() as u32;
    assert_eq!(attribute(&document, "data-short"), count(is_short));
    let unseen = count(|i| is_short(i) && !is_seen(i));
    assert_eq!(attribute(&document, "data-unseen"), unseen);
    for tag in ["unseen concept", "unseen string", "1 word", "abbreviation"] {
        let tags = document.split("data-tags=\"").nth(1).unwrap();
        assert!(tags.split('"').next().unwrap().contains(tag), "{tag}");
    }
    assert_eq!(attribute(&document, "data-cleared"), MENTIONS);
    let pairs = count(|i| !is_short(i) && is_seen(i));
    assert_eq!(attribute(&document, "data-pairs"), pairs);
}
