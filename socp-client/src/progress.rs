//! How far files are: a bar for each on a terminal, in lines of their own at its bottom; a few lines elsewhere.
//!
//! While there are bars, the terminal scrolls above them only: whoever writes there, the line editor above all, need
//! not know of them. Each drawing is one write, which begins and ends with the cursor where it was.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use socp_core::client::{Direction, FileNotice, Notice, Transfer, TransferId, quote_label};
use socp_transport::client::line::{bytes, percent, time};
use unicode_width::UnicodeWidthChar;

/// How often a bar moves at most.
pub(crate) const TICK: Duration = Duration::from_millis(250);

/// Where there are no bars, a file that moves is told of at each quarter, and at least this often.
const AT_LEAST: Duration = Duration::from_secs(5);

/// Most lines of bars; they have a quarter of the terminal at most.
const MAX_ROWS: u16 = 4;

/// Most columns of a bar itself.
const MAX_BAR: usize = 40;

/// Columns from which figures have a place of their own.
const WIDE: usize = 60;

/// Fewest columns of a bar that says anything.
const MIN_BAR: usize = 6;

/// A file on its way.
#[derive(Clone, Debug)]
pub(crate) struct Bar {
    transfer: Transfer,
    done: u64,
    /// Bytes a second, and how long the rest takes, once that is known.
    rate: Option<(u64, Option<Duration>)>,
    /// When it was told of in a line, and at which quarter.
    told: (Instant, u64),
}

/// Files on their way.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    bars: BTreeMap<TransferId, Bar>,
}

/// What a notice means for the bars.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Nothing.
    None,
    /// They look otherwise now; the notice has its own line as ever.
    Bars,
    /// The same, and that is all the notice says. Whether a line is due where there are no bars.
    Moved { is_due: bool },
}

impl Progress {
    /// Takes in what is told of a file.
    pub(crate) fn note(&mut self, now: Instant, notice: &Notice) -> Change {
        let Notice::File(notice) = notice else { return Change::None };
        match notice {
            FileNotice::Started(transfer)
            | FileNotice::Accepted { transfer, .. }
            | FileNotice::Offered { transfer, accepted: true, .. } => {
                let transfer = transfer.clone();
                let bar = Bar { done: 0, rate: None, told: (now, 0), transfer };
                self.bars.insert(bar.transfer.id, bar);
                Change::Bars
            }
            FileNotice::Progress { transfer, done, rate, left } => {
                let Some(bar) = self.bars.get_mut(&transfer.id) else { return Change::None };
                (bar.done, bar.rate) = (*done, Some((*rate, *left)));
                let quarter = percent(*done, transfer.size) / 25;
                let (at, before) = bar.told;
                let is_due =
                    (quarter > before && quarter < 4) || now.saturating_duration_since(at) >= AT_LEAST;
                if is_due {
                    bar.told = (now, quarter);
                }
                Change::Moved { is_due }
            }
            FileNotice::Saved { transfer, .. }
            | FileNotice::Arrived { transfer, .. }
            | FileNotice::Failed { transfer, .. }
            | FileNotice::Cancelled { transfer, .. } => self.forget(&[transfer.id]),
            FileNotice::Stopped { transfer, others, .. } => {
                self.forget(&[&[transfer.id], &others[..]].concat())
            }
            FileNotice::Waiting(_)
            | FileNotice::Offering(_)
            | FileNotice::Offered { accepted: false, .. }
            | FileNotice::Sent { .. } => Change::None,
        }
    }

    fn forget(&mut self, ids: &[TransferId]) -> Change {
        let before = self.bars.len();
        self.bars.retain(|id, _| !ids.contains(id));
        if self.bars.len() < before { Change::Bars } else { Change::None }
    }

    /// All of them, for whoever draws.
    pub(crate) fn bars(&self) -> Vec<Bar> {
        self.bars.values().cloned().collect()
    }
}

/// The lines at the bottom of the terminal that are ours.
#[derive(Debug, Default)]
pub(crate) struct Region {
    rows: u16,
    /// Columns and rows of the terminal when we drew last.
    size: (u16, u16),
    /// [`Aside::times`] when we drew last.
    times: u64,
}

/// Whether some are.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// Held while bars are drawn.
static ASIDE: Mutex<Aside> = Mutex::new(Aside { now: false, times: 0 });

/// The bars are laid aside while the program is suspended: the terminal is the shell's.
#[derive(Debug)]
struct Aside {
    now: bool,
    /// How often they were: each time none of them is left on the terminal.
    times: u64,
}

fn aside() -> MutexGuard<'static, Aside> {
    ASIDE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The program is about to be suspended: gives the terminal back, and draws nothing until [`take_up`].
pub(crate) fn lay_aside() {
    let mut aside = aside();
    aside.now = true;
    aside.times += 1;
    give_back();
}

/// The program goes on. The next drawing brings the bars back.
pub(crate) fn take_up() {
    aside().now = false;
}

impl Region {
    /// Makes the terminal show these bars and no others, unless they are laid aside. `size` is that of the terminal.
    pub(crate) fn show(
        &mut self,
        size: (u16, u16),
        bars: &[Bar],
        write: impl FnOnce(&str) -> io::Result<()>,
    ) -> io::Result<()> {
        let aside = aside();
        if aside.now {
            return Ok(());
        }
        if std::mem::replace(&mut self.times, aside.times) != aside.times {
            self.rows = 0;
        }
        write(&self.draw(size, bars))
    }

    /// What makes the terminal show these bars and no others. `size` is that of the terminal.
    fn draw(&mut self, size: (u16, u16), bars: &[Bar]) -> String {
        let (columns, height) = size;
        let mut text = String::new();
        if self.rows > 0 && self.size != size {
            // Wherever the bars are by now, they are below the prompt.
            text.push_str("\x1b7\x1b[r\x1b8\x1b[J");
            self.rows = 0;
        }
        self.size = size;
        let lines = lines(bars, usize::from(columns), usize::from(MAX_ROWS.min(height / 4)));
        let rows = u16::try_from(lines.len()).unwrap_or(0);
        if rows == 0 && self.rows == 0 {
            return text;
        }
        if rows > self.rows {
            // Makes room below the prompt. A vertical tab keeps the column.
            let more = rows - self.rows;
            text.push_str(&"\x0b".repeat(usize::from(more)));
            text.push_str(&format!("\x1b[{more}A"));
        }
        text.push_str("\x1b7");
        for row in rows..self.rows {
            text.push_str(&format!("\x1b[{};1H\x1b[2K", height - row));
        }
        if rows == 0 {
            text.push_str("\x1b[r");
        } else if rows != self.rows {
            text.push_str(&format!("\x1b[1;{}r", height - rows));
        }
        for (row, line) in (height - rows + 1..).zip(lines) {
            text.push_str(&format!("\x1b[{row};1H\x1b[2K{line}"));
        }
        text.push_str("\x1b8");
        self.rows = rows;
        TAKEN.store(rows > 0, Ordering::SeqCst);
        text
    }
}

/// Gives the terminal back all its lines, if it lacks some.
pub(crate) fn give_back() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        let mut stdout = std::io::stdout();
        // The terminal may be gone, and then all is well.
        let _ = stdout.write_all(b"\x1b7\x1b[r\x1b8\x1b[J").and_then(|()| stdout.flush());
    }
}

/// The bars as lines that fit.
fn lines(bars: &[Bar], columns: usize, most: usize) -> Vec<String> {
    // The last column stays free: some terminals go on to the next line.
    let columns = columns.saturating_sub(1);
    let one_each = if bars.len() > most { most.saturating_sub(1) } else { bars.len() };
    let mut lines: Vec<_> = bars.iter().take(one_each).map(|bar| line(bar, columns)).collect();
    if bars.len() > one_each && most > 0 {
        lines.push(cut(&format!("and {} more files", bars.len() - one_each), columns));
    }
    lines
}

/// `cat.jpg to bob [####----]  40 %  285 kB/s  3 s left`.
fn line(bar: &Bar, columns: usize) -> String {
    let Transfer { direction, label, name, size, .. } = &bar.transfer;
    let toward = match direction {
        Direction::Out => "to",
        Direction::In => "of",
    };
    let percent = percent(bar.done, *size);
    let is_wide = columns >= WIDE;
    let left = |left: Option<Duration>| match left {
        Some(left) if is_wide => format!(" {:>5} left", time(left)),
        Some(left) => format!(" {}", time(left)),
        None => String::new(),
    };
    let pace = bar.rate.map(|(rate, rest)| match is_wide {
        true => format!(" {:>8}/s{}", bytes(rate), left(rest)),
        false => format!(" {}/s{}", bytes(rate), left(rest)),
    });
    let figures = format!(" {percent:>3} %{}", pace.unwrap_or_default());
    // Figures first, then who and what, then the bar.
    let room = columns.saturating_sub(figures.len());
    let what = format!("{} {toward} {}", quote_label(name), quote_label(label));
    let for_bar = room.saturating_sub(width(&what).min(room / 2) + 3).min(MAX_BAR);
    let drawn = if for_bar < MIN_BAR {
        String::new()
    } else {
        let full = for_bar * usize::try_from(percent).unwrap_or(100) / 100;
        format!(" [{}{}]", "#".repeat(full), "-".repeat(for_bar - full))
    };
    cut(&format!("{}{drawn}{figures}", cut(&what, room.saturating_sub(drawn.len()))), columns)
}

fn width(text: &str) -> usize {
    text.chars().filter_map(UnicodeWidthChar::width).sum()
}

/// As much of it as fits.
fn cut(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut used = 1;
    let fits = |character: &char| {
        used += character.width().unwrap_or(0);
        used <= columns
    };
    let mut short: String = text.chars().take_while(fits).collect();
    if columns > 0 {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transfer(id: u64, name: &str) -> Transfer {
        Transfer {
            id: TransferId(id),
            direction: Direction::In,
            user_id: "bob-id".parse().unwrap(),
            label: "bob".into(),
            name: name.into(),
            size: 1_000_000,
        }
    }

    fn progress(transfer: &Transfer, done: u64) -> Notice {
        let left = Some(Duration::from_secs(3));
        Notice::File(FileNotice::Progress { transfer: transfer.clone(), done, rate: 285_000, left })
    }

    fn moving(name: &str, done: u64) -> Progress {
        let (mut all, transfer) = (Progress::default(), transfer(1, name));
        all.note(Instant::now(), &Notice::File(FileNotice::Started(transfer.clone())));
        all.note(Instant::now(), &progress(&transfer, done));
        all
    }

    #[test]
    fn a_bar_fits_its_terminal_whatever_its_width() {
        let all = moving("cat.jpg", 400_000);
        assert_eq!(
            lines(&all.bars(), 80, 4),
            ["cat.jpg of bob [#############---------------------]  40 %   285 kB/s   3 s left"]
        );
        assert_eq!(lines(&all.bars(), 40, 4), ["cat.jpg o… [##-----]  40 % 285 kB/s 3 s"]);
        for name in ["cat.jpg", "日本語の長い名前のファイル.jpg", &"long ".repeat(40)] {
            let all = moving(name, 999_999);
            for columns in 0..200 {
                let lines = lines(&all.bars(), columns, 4);
                assert!(width(&lines[0]) < columns.max(1), "{columns}: {lines:?}");
            }
        }
    }

    #[test]
    fn while_the_program_is_suspended_the_terminal_is_the_shells() {
        let all = moving("cat.jpg", 400_000);
        let mut region = Region::default();
        let mut drawn = || {
            let mut text = None;
            let write = |drawn: &str| {
                text = Some(drawn.to_owned());
                Ok(())
            };
            region.show((80, 24), &all.bars(), write).unwrap();
            text
        };
        let first = drawn().unwrap();
        assert!(first.contains("\x1b[1;23r"), "{first:?}");
        lay_aside();
        assert_eq!(drawn(), None);
        take_up();
        assert_eq!(drawn(), Some(first), "from the beginning: nothing is left of it");
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let mut all = Progress::default();
        for id in 1..=6 {
            all.note(Instant::now(), &Notice::File(FileNotice::Started(transfer(id, "x"))));
        }
        let shown = lines(&all.bars(), 60, 4);
        assert_eq!((shown.len(), &*shown[3]), (4, "and 3 more files"));
        assert_eq!(lines(&all.bars(), 60, 0), [""; 0]);
        let stopped = FileNotice::Stopped {
            reference: 1,
            transfer: transfer(1, "x"),
            others: vec![TransferId(2), TransferId(3)],
        };
        assert_eq!(all.note(Instant::now(), &Notice::File(stopped)), Change::Bars);
        assert_eq!(lines(&all.bars(), 60, 4).len(), 3);
    }

    #[test]
    fn without_bars_a_line_is_due_at_each_quarter_and_now_and_then() {
        let (start, transfer) = (Instant::now(), transfer(1, "x"));
        let mut all = Progress::default();
        assert_eq!(all.note(start, &Notice::File(FileNotice::Started(transfer.clone()))), Change::Bars);
        let due = |all: &mut Progress, millis: u64, done: u64| match all
            .note(start + Duration::from_millis(millis), &progress(&transfer, done))
        {
            Change::Moved { is_due } => is_due,
            other => panic!("{other:?}"),
        };
        let told: Vec<_> = (1..=10).map(|tenth| due(&mut all, 100 * tenth, 100_000 * tenth)).collect();
        assert_eq!(told, [false, false, true, false, true, false, false, true, false, false]);
        assert!(!due(&mut all, 5_799, 800_000) && due(&mut all, 5_800, 800_000));
    }

    #[test]
    fn the_terminal_scrolls_above_the_bars_only_and_is_given_back() {
        let all = moving("cat.jpg", 500_000);
        let mut region = Region::default();
        let first = region.draw((60, 24), &all.bars());
        assert!(first.starts_with("\x0b\x1b[1A\x1b7\x1b[1;23r\x1b[24;1H\x1b[2Kcat.jpg"), "{first:?}");
        assert!(first.ends_with("\x1b8"));
        let second = region.draw((60, 24), &all.bars());
        assert!(second.starts_with("\x1b7\x1b[24;1H"), "no room is made twice: {second:?}");
        let smaller = region.draw((60, 20), &all.bars());
        assert!(smaller.starts_with("\x1b7\x1b[r\x1b8\x1b[J\x0b\x1b[1A\x1b7\x1b[1;19r"), "{smaller:?}");
        assert_eq!(region.draw((60, 20), &[]), "\x1b7\x1b[20;1H\x1b[2K\x1b[r\x1b8");
        assert_eq!(region.draw((60, 20), &[]), "");
        assert_eq!(region.draw((60, 3), &all.bars()), "", "too low for a bar");
    }
}
