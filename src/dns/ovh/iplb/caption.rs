//! The text that Quorate keeps in a farm's name, behind the name that people gave it.
//!
//! ```text
//! web _quorate v=1 cluster=prod epoch=41 task=7031                  settled: epoch 41, whose values task 7031 published
//! web _quorate v=1 cluster=prod epoch=41 next=42 +812 -811 task=7031   epoch 42 is on its way: server 812 on, 811 off
//! ```
//!
//! OVH documents a farm's `displayName` as a "human readable name for your backend, this field is for you", a string without
//! a length or an alphabet (the schema of its API, `/1.0/ipLoadbalancing.json`). Whether it kept the text is therefore read
//! back before any server is touched.

use std::{collections::BTreeSet, fmt};

use crate::{
    core::{
        names::Epoch,
        record::{FENCE_LABEL, Fence},
    },
    dns::FenceReading,
};

/// Numbers of servers.
pub(super) type Ids = BTreeSet<u64>;

/// A farm's name, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Caption {
    /// What people call the farm; empty if they do not.
    pub(super) own: String,
    pub(super) note: Note,
}

/// What Quorate left in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Note {
    /// Nothing.
    None,
    /// The fence.
    Ours(Standing),
    /// Something that this release does not know.
    Unreadable(String),
}

/// A fence, and what became of the farm under it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) fence: Fence,
    /// The write that was begun.
    pub(super) mark: Option<Mark>,
    /// The last task that published the load balancer before this text was staged.
    pub(super) task: Option<u64>,
}

/// A write that was begun: what it is going to change. Whatever part of that is done, what it comes to can be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) next: Epoch,
    /// The servers that shall take traffic from now on.
    pub(super) on: Ids,
    /// Those that shall take none.
    pub(super) off: Ids,
}

impl Caption {
    pub(super) fn parse(name: &str) -> Self {
        let own = |note| Self { own: name.to_owned(), note };
        let label = format!("{FENCE_LABEL} ");
        let Some(at) = name.rfind(&label) else {
            return own(Note::None);
        };
        let before = &name[..at];
        let before = before.strip_suffix(' ').filter(|own| !own.is_empty()).or(before.is_empty().then_some(""));
        let Some(before) = before else {
            return own(Note::None);
        };
        let text = &name[at + label.len()..];
        let note = Standing::parse(text).map_or_else(|| Note::Unreadable(text.to_owned()), Note::Ours);
        Self { own: before.to_owned(), note }
    }

    pub(super) fn mark(&self) -> Option<&Mark> {
        self.standing().and_then(|standing| standing.mark.as_ref())
    }

    pub(super) fn standing(&self) -> Option<&Standing> {
        match &self.note {
            Note::Ours(standing) => Some(standing),
            Note::None | Note::Unreadable(_) => None,
        }
    }

    pub(super) fn fence(&self) -> FenceReading {
        match &self.note {
            Note::None => FenceReading::Absent,
            Note::Ours(standing) => FenceReading::Present(standing.fence.clone()),
            Note::Unreadable(text) => FenceReading::Unreadable(vec![text.clone()]),
        }
    }

    /// The same name with another note.
    pub(super) fn with(&self, standing: Standing) -> Self {
        Self { own: self.own.clone(), note: Note::Ours(standing) }
    }
}

impl fmt::Display for Caption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let space = if self.own.is_empty() { "" } else { " " };
        match &self.note {
            Note::None => f.write_str(&self.own),
            Note::Ours(standing) => write!(f, "{}{space}{FENCE_LABEL} {standing}", self.own),
            Note::Unreadable(text) => write!(f, "{}{space}{FENCE_LABEL} {text}", self.own),
        }
    }
}

impl Standing {
    fn parse(text: &str) -> Option<Self> {
        let words: Vec<&str> = text.split(' ').collect();
        let (fence, extras) = words.split_at_checked(3)?;
        let fence = fence.join(" ").parse().ok()?;
        let mut words = extras.iter().copied().peekable();
        let next = words.next_if(|word| word.starts_with("next="));
        let mark = match next {
            Some(word) => {
                let mut ids = |sign: char| words.next_if(|word| word.starts_with(sign)).map_or(Some(Ids::new()), ids);
                let (on, off) = (ids('+')?, ids('-')?);
                Some(Mark { next: Epoch(number(word.strip_prefix("next=")?)?), on, off })
            }
            None => None,
        };
        let task = words.next_if(|word| word.starts_with("task="));
        let task = match task {
            Some(word) => Some(number(word.strip_prefix("task=")?)?),
            None => None,
        };
        let standing = Self { fence, mark, task };
        // Only what is written exactly as this writes it is ours.
        (words.next().is_none() && standing.to_string() == text).then_some(standing)
    }
}

fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// `+1,2`
fn ids(word: &str) -> Option<Ids> {
    word[1..].split(',').map(number).collect()
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.fence)?;
        if let Some(Mark { next, on, off }) = &self.mark {
            write!(f, " next={next}")?;
            for (sign, ids) in [('+', on), ('-', off)] {
                if !ids.is_empty() {
                    let list: Vec<_> = ids.iter().map(u64::to_string).collect();
                    write!(f, " {sign}{}", list.join(","))?;
                }
            }
        }
        if let Some(task) = self.task {
            write!(f, " task={task}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_reads_back_whatever_people_called_the_farm() {
        for name in [
            "",
            "web",
            "ingress 8080 gra",
            "_quorate v=1 cluster=prod epoch=41",
            "web _quorate v=1 cluster=prod epoch=41 task=7031",
            "web _quorate v=1 cluster=prod epoch=41 next=42 +812,813 -811 task=7031",
            "web _quorate v=1 cluster=prod epoch=0 next=1 +812",
            "web _quorate v=1 cluster=prod epoch=41 next=42",
            "web _quorate in use",
            "my_quorate farm",
            " _quorate v=1 cluster=prod epoch=41",
            "_quorate",
        ] {
            assert_eq!(Caption::parse(name).to_string(), name);
        }
        let marked = Caption::parse("web _quorate v=1 cluster=prod epoch=41 next=42 +812,813 -811 task=7031");
        assert_eq!(marked.own, "web");
        let mark = marked.mark().expect("a mark");
        assert_eq!((mark.next, &mark.on, &mark.off), (Epoch(42), &[812, 813].into(), &[811].into()));
        let standing = marked.standing().expect("a fence");
        assert_eq!((standing.fence.epoch, standing.task), (Epoch(41), Some(7031)));
    }

    #[test]
    fn what_is_no_note_is_told_apart() {
        assert_eq!(Caption::parse("web").fence(), FenceReading::Absent);
        assert_eq!(Caption::parse("my_quorate farm").fence(), FenceReading::Absent);
        for text in [
            "in use",
            "v=1 cluster=prod",
            "v=1 cluster=prod epoch=41 task=07",
            "v=1 cluster=prod epoch=41 task=",
            "v=1 cluster=prod epoch=41 next=42 -1 +2",
            "v=1 cluster=prod epoch=41 +2",
            "v=1 cluster=prod epoch=41 next=42 +2,1",
            "v=1 cluster=prod epoch=41 next=42 +",
            "v=2 cluster=prod epoch=41",
        ] {
            let fence = Caption::parse(&format!("web _quorate {text}")).fence();
            assert_eq!(fence, FenceReading::Unreadable(vec![text.to_owned()]), "{text}");
        }
    }
}
