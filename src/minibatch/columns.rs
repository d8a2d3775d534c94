//! Columns of the obs table that are delivered with the minibatches.

use std::fmt;

/// An obs column to deliver, and in which form. A name alone asks for the natural form.
///
/// ```
/// use cellring::minibatch::ColumnChoice;
///
/// let natural: ColumnChoice = "cell_type".into();
/// let labels = ColumnChoice::codes("donor_id"); // small integers, whatever the column holds
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ColumnChoice {
    /// Name of the column.
    pub name: String,
    /// Its form.
    pub form: ColumnForm,
    /// Whether stores of a [`Collection`](crate::loader::Collection) may lack the column: then all their values are missing.
    /// One store must have it.
    pub or_missing: bool,
}

/// How an obs column is delivered with each minibatch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ColumnForm {
    /// As it is stored: categories as codes, integers of all widths as 64 bits, floats as `f64`.
    #[default]
    Natural,
    /// `i32` codes, with a table of what they mean ([`Loader::categories`](crate::Loader::categories)). Texts, integers and
    /// booleans get the codes of their sorted distinct values, for which the whole column is looked at once.
    Codes,
    /// `f64`, from numbers, booleans and categories that are numbers. Integers beyond 2^53 are rounded.
    Floats,
    /// Texts, from texts, integers, booleans and categories of texts.
    Strings,
}

impl fmt::Display for ColumnForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Natural => "they are",
            Self::Codes => "codes",
            Self::Floats => "floats",
            Self::Strings => "strings",
        })
    }
}

impl ColumnChoice {
    fn new(name: impl Into<String>, form: ColumnForm) -> Self {
        Self {
            name: name.into(),
            form,
            or_missing: false,
        }
    }

    /// The column as codes.
    pub fn codes(name: impl Into<String>) -> Self {
        Self::new(name, ColumnForm::Codes)
    }

    /// The column as floats.
    pub fn floats(name: impl Into<String>) -> Self {
        Self::new(name, ColumnForm::Floats)
    }

    /// The column as texts.
    pub fn strings(name: impl Into<String>) -> Self {
        Self::new(name, ColumnForm::Strings)
    }

    /// The column, missing in those stores of a [`Collection`](crate::loader::Collection) that lack it.
    #[must_use]
    pub fn or_missing(self) -> Self {
        let or_missing = true;
        Self { or_missing, ..self }
    }
}

impl From<&str> for ColumnChoice {
    fn from(name: &str) -> Self {
        Self::new(name, ColumnForm::Natural)
    }
}

impl From<String> for ColumnChoice {
    fn from(name: String) -> Self {
        Self::new(name, ColumnForm::Natural)
    }
}

/// One obs column of a minibatch: a value per row.
#[derive(Clone, Debug, PartialEq)]
pub struct ObsColumn {
    /// Name of the column.
    pub name: String,
    /// The values; where one is missing, a code is -1, a float NaN, an integer 0, a boolean false, a string empty.
    pub values: ObsValues,
    /// Whether each value is there; `None` where the column has no missing values at all.
    pub valid: Option<Vec<bool>>,
}

macro_rules! accessors {
    ($($name:ident $variant:ident $type:ty, $what:literal;)*) => {
        impl ObsColumn {
            $(
                #[doc = concat!("The values, if they are ", $what, ".")]
                pub fn $name(&self) -> Option<&[$type]> {
                    match &self.values {
                        ObsValues::$variant(values) => Some(values),
                        _ => None,
                    }
                }
            )*
        }
    };
}

accessors! {
    as_codes Codes i32, "codes: see [`Loader::categories`](crate::Loader::categories)";
    as_integers Integers i64, "integers";
    as_unsigned Unsigned u64, "unsigned 64-bit integers";
    as_floats Floats f64, "floats";
    as_booleans Booleans bool, "booleans";
    as_strings Strings String, "texts";
}

/// Values of an obs column. Columns of a table have types of their own: those of the matrix are not among them.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ObsValues {
    /// Codes: places in the column's categories ([`Loader::categories`](crate::Loader::categories)).
    Codes(Vec<i32>),
    /// Integers of any width.
    Integers(Vec<i64>),
    /// Unsigned 64-bit integers, which `i64` does not hold.
    Unsigned(Vec<u64>),
    /// Floats of any width.
    Floats(Vec<f64>),
    /// Booleans.
    Booleans(Vec<bool>),
    /// Texts.
    Strings(Vec<String>),
}
