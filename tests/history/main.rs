//! A recording and what is made of it: the file format under damage, the recorder on a disk, and replays of made-up worlds.

#[path = "../common/recording.rs"]
mod recording;

mod format;
mod policies;
mod recorder;
