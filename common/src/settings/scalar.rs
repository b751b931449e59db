//! Types of one value: how a text is read and shown, and bounds.

/// The type of one value in a file, a variable or a flag.
pub trait Scalar: Sized {
    /// Whether it must never be shown, nor be a flag.
    const SECRET: bool = false;

    /// Reads the text.
    ///
    /// # Errors
    /// What would be right. Must not repeat a secret.
    fn read(text: &str) -> Result<Self, String>;

    /// The text that [`Scalar::read`] understands, for defaults and bounds.
    fn show(&self) -> String;
}

/// A value of a few, each with a name.
pub trait Named: Copy + PartialEq + 'static {
    /// The values by name.
    const NAMES: &'static [(&'static str, Self)];
}

impl<T: Named> Scalar for T {
    fn read(text: &str) -> Result<Self, String> {
        let named = T::NAMES.iter().find(|(name, _)| *name == text);
        named.map(|(_, value)| *value).ok_or_else(|| {
            let names: Vec<_> = T::NAMES.iter().map(|(name, _)| *name).collect();
            format!("{text:?} is not one of {}", names.join(", "))
        })
    }

    fn show(&self) -> String {
        let named = T::NAMES.iter().find(|(_, value)| value == self);
        named.map_or_else(String::new, |(name, _)| (*name).to_owned())
    }
}

/// The bound of a setting without bounds.
///
/// # Errors
/// None.
pub fn any<T>(_value: &T) -> Result<(), String> {
    Ok(())
}

/// At least `least`.
pub fn at_least<T: Scalar + PartialOrd>(least: T) -> impl Fn(&T) -> Result<(), String> {
    move |value| match *value >= least {
        true => Ok(()),
        false => Err(format!(
            "{} is too little; the least is {}",
            value.show(),
            least.show()
        )),
    }
}

/// From `least` to `most`.
pub fn between<T: Scalar + PartialOrd>(least: T, most: T) -> impl Fn(&T) -> Result<(), String> {
    move |value| match (&least..=&most).contains(&value) {
        true => Ok(()),
        false => Err(format!(
            "{} is not from {} to {}",
            value.show(),
            least.show(),
            most.show()
        )),
    }
}
