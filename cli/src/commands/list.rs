//! Lists: printed once, or with `--watch` again and again in place.

use std::io::{self, Write as _};
use std::time::Duration;

use chrono::{DateTime, Local, Utc};
use clap::Args;
use serde::Serialize;

use super::context::Context;
use crate::exit;
use crate::failure::Failure;
use crate::output::text::{clean, instant};
use crate::output::{Format, Output, Table};

/// Shows the list on a screen of its own without a cursor, and the way back.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";

/// Whether and how often a list is shown again.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Watch {
    /// Show it again every so many seconds (default 2), until Ctrl-C
    #[arg(
        long,
        short,
        value_name = "SECONDS",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "2",
        value_parser = clap::value_parser!(u32).range(1..=3600)
    )]
    watch: Option<u32>,
}

/// A remark beside a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Remark {
    /// Something to know.
    Note(String),
    /// Something is not as it should be.
    Warning(String),
}

impl Remark {
    fn tell(&self, output: &Output) {
        match self {
            Self::Note(text) => output.note(text),
            Self::Warning(text) => output.warn(text),
        }
    }

    fn line(&self) -> String {
        match self {
            Self::Note(text) => clean(text),
            Self::Warning(text) => format!("warning: {}", clean(text)),
        }
    }
}

/// How the answer to a request looks.
pub(super) struct Look<T> {
    /// Tables, with empty lines between them.
    pub(super) tables: fn(&T, DateTime<Utc>) -> Vec<Table>,
    /// What `--output quiet` prints.
    pub(super) names: fn(&T) -> Vec<String>,
}

/// Fetches the list and prints it, once or until Ctrl-C.
pub(super) async fn show<T: Serialize>(
    context: &Context,
    watch: Watch,
    look: &Look<T>,
    mut fetch: impl AsyncFnMut() -> Result<(T, Vec<Remark>), Failure>,
) -> Result<u8, Failure> {
    let Some(seconds) = watch.watch else {
        let (list, remarks) = fetch().await?;
        print(context, &context.output, look, &list)?;
        for remark in remarks {
            remark.tell(&context.output);
        }
        return Ok(exit::DONE);
    };
    let every = Duration::from_secs(seconds.into());
    if !context.output.stdout.redraws() || context.output.format != Format::Table {
        return repeat(context, look, every, fetch).await;
    }
    // A failure of the first look is told as always.
    let (mut list, mut remarks) = fetch().await?;
    let mut trouble = None;
    write(ENTER)?;
    let ended = loop {
        let drawn = draw(context, look, &list, &remarks, trouble.as_ref());
        if let Err(error) = drawn {
            break Err(error.into());
        }
        let next = async {
            tokio::time::sleep(every).await;
            fetch().await
        };
        let next = tokio::select! {
            next = next => next,
            _ = tokio::signal::ctrl_c() => break Ok(exit::DONE),
        };
        match next {
            Ok(fetched) => {
                (list, remarks) = fetched;
                trouble = None;
            }
            // The master may be restarting; the last answer stays on the screen.
            Err(failure) if failure.exit_code() == exit::UNREACHABLE => {
                let since = trouble
                    .take()
                    .map_or_else(|| now(context), |(since, _)| since);
                trouble = Some((since, failure.to_string()));
            }
            Err(failure) => break Err(failure),
        }
    };
    write(LEAVE)?;
    // What was last seen stays above the prompt.
    print(context, &context.output.without_pager(), look, &list)?;
    ended
}

fn now(context: &Context) -> String {
    instant(context.now(), &Local)
}

/// Prints every look that differs from the one before: for pipes and programs.
async fn repeat<T: Serialize>(
    context: &Context,
    look: &Look<T>,
    every: Duration,
    mut fetch: impl AsyncFnMut() -> Result<(T, Vec<Remark>), Failure>,
) -> Result<u8, Failure> {
    let plain = context.output.without_pager();
    let mut last = None;
    loop {
        match fetch().await {
            Ok((list, _)) => {
                let now = serde_json::to_string(&list).map_err(io::Error::from)?;
                if last.as_ref() != Some(&now) {
                    if last.is_some() && context.output.format == Format::Table {
                        context.output.line("")?;
                    }
                    match context.output.format {
                        Format::Json => context.output.json_line(&list)?,
                        Format::Table | Format::Quiet => print(context, &plain, look, &list)?,
                    }
                    last = Some(now);
                }
            }
            Err(failure) if last.is_some() && failure.exit_code() == exit::UNREACHABLE => {
                failure.report(&context.output);
            }
            Err(failure) => return Err(failure),
        }
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            _ = tokio::signal::ctrl_c() => return Ok(exit::DONE),
        }
    }
}

fn print<T: Serialize>(
    context: &Context,
    output: &Output,
    look: &Look<T>,
    list: &T,
) -> Result<(), Failure> {
    match output.format {
        Format::Json => output.json(list)?,
        Format::Quiet => {
            for name in (look.names)(list) {
                output.line(&name)?;
            }
        }
        Format::Table => {
            output.tables(&(look.tables)(list, context.now()))?;
        }
    }
    Ok(())
}

/// Draws one look over the one before. Nothing is erased before it is written again, so that nothing flickers.
fn draw<T>(
    context: &Context,
    look: &Look<T>,
    list: &T,
    remarks: &[Remark],
    trouble: Option<&(String, String)>,
) -> io::Result<()> {
    let (screen, height) = Output::screen_now();
    let tables = (look.tables)(list, context.now());
    let tables: Vec<String> = tables.iter().map(|table| table.render(&screen)).collect();
    let mut foot: Vec<String> = remarks.iter().map(Remark::line).collect();
    foot.push(match trouble {
        None => format!("{}  Ctrl-C ends", now(context)),
        Some((since, error)) => format!("as of {since}; {}", clean(error)),
    });
    write(&frame(&tables.join("\n"), &foot, height, screen.width))
}

/// The bytes that draw a list and its foot on a screen of that size.
fn frame(text: &str, foot: &[String], height: Option<u16>, width: Option<u16>) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let room = height.map_or(usize::MAX, usize::from);
    let room = room.saturating_sub(foot.len() + 1).max(1);
    let mut drawn: Vec<String> = lines
        .iter()
        .take(room)
        .map(|line| (*line).to_owned())
        .collect();
    if lines.len() > room {
        drawn.pop();
        drawn.push(format!("… {} more lines", lines.len() + 1 - room));
    }
    drawn.push(String::new());
    let width = width.map_or(usize::MAX, usize::from);
    drawn.extend(foot.iter().map(|line| line.chars().take(width).collect()));
    format!("\x1b[H{}\x1b[K\x1b[J", drawn.join("\x1b[K\r\n"))
}

fn write(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_overwrites_the_one_before() {
        let foot = ["12:00  Ctrl-C ends".to_owned()];
        let drawn = frame("ID\n1\n2\n", &foot, Some(24), Some(80));
        assert_eq!(
            drawn,
            "\x1b[HID\x1b[K\r\n1\x1b[K\r\n2\x1b[K\r\n\x1b[K\r\n12:00  Ctrl-C ends\x1b[K\x1b[J"
        );
    }

    #[test]
    fn a_frame_is_no_larger_than_the_screen() {
        let text: String = (0..100).map(|line| format!("{line}\n")).collect();
        let foot = ["a long foot that does not fit".to_owned()];
        for height in [3, 10, 24] {
            let drawn = frame(&text, &foot, Some(height), Some(10));
            assert_eq!(drawn.split("\r\n").count(), usize::from(height), "{drawn}");
            assert!(drawn.ends_with("a long foo\x1b[K\x1b[J"), "{drawn}");
            assert!(drawn.contains("more lines"), "{drawn}");
        }
    }
}
