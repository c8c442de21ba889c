//! Values of the configuration file: how each kind is read and written.

use std::fmt::Display;
use std::ops::Range;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use toml::Spanned;
use toml::de::DeValue;

/// No interval is longer: beyond it clocks and sums overflow, and nobody waits.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// No interval is shorter: a deadline always lies ahead.
const SHORTEST: Duration = Duration::from_millis(1);

/// No count is higher: memory ends long before.
const MOST: usize = 1_000_000_000;

/// No size is larger.
const LARGEST: usize = 1024 * 1024 * 1024;

/// What is wrong with a part of a text.
#[derive(Debug)]
pub(super) struct Wrong {
    pub(super) span: Range<usize>,
    pub(super) what: String,
    pub(super) help: Option<String>,
}

impl Wrong {
    pub(super) fn new(span: Range<usize>, what: impl Into<String>) -> Self {
        Self { span, what: what.into(), help: None }
    }
}

type Read<T = ()> = Result<T, Wrong>;

type Value<'de> = Spanned<DeValue<'de>>;

/// A place for a value.
pub(super) trait Slot {
    /// Takes what the file has.
    fn read(&mut self, value: &Value<'_>) -> Read;

    /// As the file has it; none if there is no value.
    fn shown(&self) -> Option<String>;
}

/// A length in bytes, of so many at least.
pub(super) struct Size<'a>(pub(super) &'a mut usize, pub(super) usize);

impl Slot for Size<'_> {
    fn read(&mut self, value: &Value<'_>) -> Read {
        const EXPECTED: &str = "a size such as \"512 KiB\" or \"1 MiB\", or a number of bytes";
        let size = match value.get_ref() {
            DeValue::String(text) => {
                text.parse::<ByteSize>().ok().and_then(|size| usize::try_from(size.0).ok())
            }
            DeValue::Integer(_) => number(value),
            _ => None,
        };
        let size = size.ok_or_else(|| unexpected(value, EXPECTED))?;
        if (self.1..=LARGEST).contains(&size) {
            *self.0 = size;
            return Ok(());
        }
        Err(Wrong::new(
            value.span(),
            format!("expected {} at least and {} at most", bytes(self.1), bytes(LARGEST)),
        ))
    }

    fn shown(&self) -> Option<String> {
        Some(quoted(&bytes(*self.0)))
    }
}

/// How many, one at least.
pub(super) struct Count<'a>(pub(super) &'a mut usize);

impl Slot for Count<'_> {
    fn read(&mut self, value: &Value<'_>) -> Read {
        *self.0 = count(value)?;
        Ok(())
    }

    fn shown(&self) -> Option<String> {
        Some(grouped(*self.0))
    }
}

/// How many in a time, one at least.
pub(super) struct Rate<'a>(pub(super) &'a mut u32);

impl Slot for Rate<'_> {
    fn read(&mut self, value: &Value<'_>) -> Read {
        *self.0 = u32::try_from(count(value)?).unwrap_or(u32::MAX);
        Ok(())
    }

    fn shown(&self) -> Option<String> {
        Some(grouped(*self.0 as usize))
    }
}

/// How long.
pub(super) struct Interval<'a>(pub(super) &'a mut Duration);

impl Slot for Interval<'_> {
    fn read(&mut self, value: &Value<'_>) -> Read {
        const EXPECTED: &str = "a duration such as \"500ms\", \"15s\", \"2min\" or \"12h\"";
        let text = value.get_ref().as_str();
        let Some(interval) = text.and_then(|text| humantime::parse_duration(text).ok()) else {
            let wrong = unexpected(value, EXPECTED);
            return Err(match number(value) {
                Some(seconds) => Wrong { help: Some(format!("for seconds write \"{seconds}s\"")), ..wrong },
                None => wrong,
            });
        };
        if (SHORTEST..=LONGEST).contains(&interval) {
            *self.0 = interval;
            return Ok(());
        }
        Err(Wrong::new(value.span(), "expected 1ms at least and 366 days at most"))
    }

    fn shown(&self) -> Option<String> {
        let (seconds, millis) = (self.0.as_secs(), self.0.as_millis());
        Some(quoted(&match seconds {
            _ if self.0.subsec_nanos() > 0 => format!("{millis}ms"),
            0 => "0s".into(),
            _ if seconds.is_multiple_of(3600) => format!("{}h", seconds / 3600),
            _ if seconds.is_multiple_of(60) => format!("{}min", seconds / 60),
            _ => format!("{seconds}s"),
        }))
    }
}

/// Yes or no.
pub(super) struct Switch<'a>(pub(super) &'a mut bool);

impl Slot for Switch<'_> {
    fn read(&mut self, value: &Value<'_>) -> Read {
        *self.0 = value.get_ref().as_bool().ok_or_else(|| unexpected(value, "true or false"))?;
        Ok(())
    }

    fn shown(&self) -> Option<String> {
        Some(self.0.to_string())
    }
}

/// A text that means something.
pub(super) struct Text<'a, T>(pub(super) &'a mut T);

impl<T: FromStr<Err: Display> + Display> Slot for Text<'_, T> {
    fn read(&mut self, value: &Value<'_>) -> Read {
        *self.0 = text(value)?;
        Ok(())
    }

    fn shown(&self) -> Option<String> {
        Some(quoted(&self.0.to_string()))
    }
}

/// A text, or nothing.
pub(super) struct Maybe<'a, T>(pub(super) &'a mut Option<T>);

impl<T: FromStr<Err: Display> + Display> Slot for Maybe<'_, T> {
    fn read(&mut self, value: &Value<'_>) -> Read {
        *self.0 = Some(text(value)?);
        Ok(())
    }

    fn shown(&self) -> Option<String> {
        self.0.as_ref().map(|value| quoted(&value.to_string()))
    }
}

/// A file's path, or nothing.
pub(super) struct File<'a>(pub(super) &'a mut Option<PathBuf>);

impl Slot for File<'_> {
    fn read(&mut self, value: &Value<'_>) -> Read {
        *self.0 = Some(text(value)?);
        Ok(())
    }

    fn shown(&self) -> Option<String> {
        self.0.as_ref().map(|path| quoted(&path.display().to_string()))
    }
}

/// Files' paths.
pub(super) struct Files<'a>(pub(super) &'a mut Vec<PathBuf>);

impl Slot for Files<'_> {
    fn read(&mut self, value: &Value<'_>) -> Read {
        *self.0 = texts(value)?;
        Ok(())
    }

    fn shown(&self) -> Option<String> {
        Some(list(self.0.iter().map(|path| path.display())))
    }
}

/// Texts; one may stand without the brackets.
pub(super) struct Texts<'a, T>(pub(super) &'a mut Vec<T>);

impl<T: FromStr<Err: Display> + Display> Slot for Texts<'_, T> {
    fn read(&mut self, value: &Value<'_>) -> Read {
        *self.0 = texts(value)?;
        Ok(())
    }

    fn shown(&self) -> Option<String> {
        Some(list(self.0.iter()))
    }
}

/// Texts, or nothing, which is another thing than none.
pub(super) struct MaybeTexts<'a, T>(pub(super) &'a mut Option<Vec<T>>);

impl<T: FromStr<Err: Display> + Display> Slot for MaybeTexts<'_, T> {
    fn read(&mut self, value: &Value<'_>) -> Read {
        *self.0 = Some(texts(value)?);
        Ok(())
    }

    fn shown(&self) -> Option<String> {
        self.0.as_ref().map(|values| list(values.iter()))
    }
}

fn text<T: FromStr<Err: Display>>(value: &Value<'_>) -> Read<T> {
    let text = value.get_ref().as_str().ok_or_else(|| unexpected(value, "a text in quotes"))?;
    text.parse().map_err(|error: T::Err| Wrong::new(value.span(), error.to_string()))
}

fn texts<T: FromStr<Err: Display>>(value: &Value<'_>) -> Read<Vec<T>> {
    match value.get_ref() {
        DeValue::Array(values) => values.iter().map(text).collect(),
        DeValue::String(_) => Ok(vec![text(value)?]),
        _ => Err(unexpected(value, "a list of texts, such as [\"one\", \"two\"]")),
    }
}

fn count(value: &Value<'_>) -> Read<usize> {
    let count = number(value).ok_or_else(|| unexpected(value, "a whole number"))?;
    if (1..=MOST).contains(&count) {
        return Ok(count);
    }
    Err(Wrong::new(value.span(), format!("expected 1 at least and {} at most", grouped(MOST))))
}

fn number(value: &Value<'_>) -> Option<usize> {
    let integer = value.get_ref().as_integer()?;
    usize::from_str_radix(integer.as_str(), integer.radix()).ok()
}

fn unexpected(value: &Value<'_>, expected: &str) -> Wrong {
    let found = value.get_ref();
    let found = match found {
        DeValue::String(text) => format!("{:?}", &**text),
        DeValue::Integer(number) => number.to_string(),
        other => format!("a {}", other.type_str()),
    };
    Wrong::new(value.span(), format!("expected {expected}, found {found}"))
}

/// In the largest unit that leaves no rest.
fn bytes(size: usize) -> String {
    const KIB: usize = 1024;
    match size {
        _ if size > 0 && size.is_multiple_of(KIB * KIB) => format!("{} MiB", size / (KIB * KIB)),
        _ if size > 0 && size.is_multiple_of(KIB) => format!("{} KiB", size / KIB),
        _ => format!("{size} B"),
    }
}

/// With `_` between thousands, as TOML has it, once there are many.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    if digits.len() < 5 {
        return digits;
    }
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push('_');
        }
        grouped.push(digit);
    }
    grouped
}

fn list<T: Display>(values: impl Iterator<Item = T>) -> String {
    let values: Vec<_> = values.map(|value| quoted(&value.to_string())).collect();
    format!("[{}]", values.join(", "))
}

/// None of our texts has control characters.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(mut slot: impl Slot, text: &str) -> Result<String, String> {
        let value = DeValue::parse(text).unwrap();
        slot.read(&value).map_err(|wrong| {
            let help = wrong.help.map(|help| format!("; {help}")).unwrap_or_default();
            wrong.what + &help
        })?;
        Ok(slot.shown().unwrap())
    }

    #[test]
    fn sizes_have_units_or_are_bytes() {
        for (text, shown) in [
            ("'1 MiB'", "\"1 MiB\""),
            ("'1024KiB'", "\"1 MiB\""),
            ("65_536", "\"64 KiB\""),
            ("'1.5 KiB'", "\"1536 B\""),
            ("0x1001", "\"4097 B\""),
        ] {
            assert_eq!(read(Size(&mut 0, 1000), text).as_deref(), Ok(shown), "{text}");
        }
        for text in ["'a lot'", "1.5", "-4", "true", "'1 mile'", "'-1 KiB'"] {
            assert!(read(Size(&mut 0, 1), text).unwrap_err().contains("\"512 KiB\""), "{text}");
        }
        for text in ["999", "'2 GiB'"] {
            assert_eq!(
                read(Size(&mut 0, 1000), text).unwrap_err(),
                "expected 1000 B at least and 1024 MiB at most"
            );
        }
    }

    #[test]
    fn durations_have_units() {
        for (text, shown) in [
            ("'15s'", "\"15s\""),
            ("'2 min'", "\"2min\""),
            ("'90 seconds'", "\"90s\""),
            ("'1h 30min'", "\"90min\""),
            ("'1day'", "\"24h\""),
            ("'1.5s'", "\"1500ms\""),
        ] {
            assert_eq!(read(Interval(&mut Duration::default()), text).as_deref(), Ok(shown), "{text}");
        }
        let wrong = |text| read(Interval(&mut Duration::default()), text).unwrap_err();
        assert_eq!(
            wrong("15"),
            "expected a duration such as \"500ms\", \"15s\", \"2min\" or \"12h\", found 15; for seconds write \"15s\""
        );
        assert!(wrong("'soon'").ends_with("found \"soon\""));
        for text in ["'0s'", "'1ns'", "'2 years'"] {
            assert!(wrong(text).contains("1ms at least"), "{text}");
        }
    }

    #[test]
    fn counts_start_at_one() {
        assert_eq!(read(Count(&mut 0), "65_536").as_deref(), Ok("65_536"));
        assert_eq!(read(Rate(&mut 0), "100").as_deref(), Ok("100"));
        for text in ["0", "2_000_000_000"] {
            assert!(read(Count(&mut 0), text).unwrap_err().contains("1 at least"), "{text}");
        }
        assert!(read(Rate(&mut 0), "'many'").unwrap_err().contains("a whole number, found \"many\""));
        assert!(read(Switch(&mut false), "1").unwrap_err().contains("true or false, found 1"));
    }
}
