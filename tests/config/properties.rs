//! Whatever the text, reading it gives an answer and never panics; and what was accepted is accepted again.

use proptest::prelude::*;
use quorate::{config, service_file};

use crate::read;

/// A good file in which passages were cut, doubled or replaced.
fn mutated(text: String) -> impl Strategy<Value = String> {
    let scraps = prop::sample::select(vec![
        "",
        "\"",
        "\"\"",
        "[",
        "]",
        "{",
        "}",
        "=",
        ",",
        "\n",
        "0",
        "-1",
        "1e9",
        "9223372036854775808",
        "true",
        "\"0s\"",
        "\"-1s\"",
        "\"999999999999999y\"",
        "[[region]]",
        "[policy]",
        ".",
        "~",
        "é",
        "\u{0}",
        "\t",
        "[]",
        "{}",
        "1979-05-27",
    ]);
    let edit = (any::<prop::sample::Index>(), 0_usize..12, scraps);
    prop::collection::vec(edit, 1..4).prop_map(move |edits| {
        let mut text: Vec<char> = text.chars().collect();
        for (at, length, scrap) in edits {
            let at = at.index(text.len() + 1);
            let end = (at + length).min(text.len());
            text.splice(at..end, scrap.chars());
        }
        text.into_iter().collect()
    })
}

/// The same of a node's configuration.
fn node_survives(text: &str) -> Result<(), TestCaseError> {
    if let Err(problems) = config::parse(text, &|_| Some("aHVudGVyMg==".to_owned())) {
        prop_assert!(problems.count() > 0);
        prop_assert!(!problems.to_string().is_empty());
    }
    Ok(())
}

/// Parses and, if it was refused, renders: the rendering must hold every problem's place.
fn survives(text: &str) -> Result<(), TestCaseError> {
    match service_file::parse(text) {
        Ok((service, warnings)) => {
            for warning in &warnings {
                prop_assert!(!warning.as_warning("f").to_string().is_empty());
            }
            let (again, _) = service_file::parse(&service_file::write(&service))
                .map_err(|problems| TestCaseError::fail(problems.to_string()))?;
            prop_assert_eq!(again, service);
        }
        Err(problems) => {
            let lines = text.split('\n').count();
            prop_assert!(problems.count() > 0);
            for problem in &problems {
                prop_assert!((1..=lines).contains(&problem.line), "line {} of {lines}", problem.line);
            }
            let rendered = problems.to_string();
            prop_assert!(!rendered.contains(char::from(0)), "a control character reaches the terminal");
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,200}") {
        survives(&text)?;
        node_survives(&text)?;
    }

    #[test]
    fn no_slip_in_a_node_makes_it_panic(text in mutated(read("deploy/node.toml.example"))) {
        node_survives(&text)?;
    }

    #[test]
    fn no_slip_of_the_hand_makes_it_panic(
        text in mutated(read("tests/fixtures/services/every-key.toml")),
    ) {
        survives(&text)?;
    }
}
