//! Texts as zone files have them.

/// A text as a zone file has it (RFC 1035 §5.1), which is how the APIs take and give it.
pub(super) fn quote(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// The text that a quoted target stands for, its strings joined; an unquoted one stands for itself.
pub(super) fn unquote(target: &str) -> String {
    if !target.starts_with('"') {
        return target.to_owned();
    }
    let mut text = String::with_capacity(target.len());
    let mut quoted = false;
    let mut characters = target.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => quoted = !quoted,
            '\\' => text.extend(characters.next()),
            other if quoted => text.push(other),
            _ => {}
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_survive_their_quotes() {
        for text in ["v=1 cluster=prod epoch=42", r#"a "b" \c"#, ""] {
            assert_eq!(unquote(&quote(text)), text);
        }
        assert_eq!(unquote("v=1 cluster=prod epoch=42"), "v=1 cluster=prod epoch=42");
        assert_eq!(unquote(r#""v=1 cluster=" "prod epoch=42""#), "v=1 cluster=prod epoch=42");
        assert_eq!(unquote("\"unfinished\\"), "unfinished");
    }
}
