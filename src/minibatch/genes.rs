//! Which genes a minibatch has, and in which order.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef};
use cellring_core::{few, few_and_more};

use super::error::OutputError;
use super::lanes::Lanes;
use crate::Error;
use crate::format::column::text_at;
use crate::format::table::{Column, Table};

/// In a map: a column of the store that no output column takes.
const DROPPED: u32 = u32::MAX;

/// As many names as a message gives.
const EXAMPLES: usize = 3;

/// From the columns of one store to those of the output.
///
/// Output column `j` is the `j`-th gene that was asked for, whatever its place in the store; where the store lacks it, the
/// column is zero. Stores with other var tables have other selections for the same genes, and the same output.
#[derive(Clone, Debug)]
pub struct GeneSelection(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// For each column of the store that of the output, or [`DROPPED`]. No output column occurs twice.
    map: Vec<u32>,
    /// A bit for each column of the store: whether it is kept. Fits the first cache, which `map` does not.
    kept: Vec<u64>,
    keeps_all: bool,
    /// Whether three quarters of the columns are kept: then it is quicker to look at the new columns at once.
    keeps_most: bool,
    n_genes: usize,
    /// Whether the columns that are kept keep their order too.
    is_ascending: bool,
}

/// What names of a list were found nowhere, or more than once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GeneReport {
    /// Names that the store does not have, in the order of the list: their columns are zero.
    pub missing: Vec<String>,
    /// Names that several columns of the store have, in the order of the list: the first of these columns is taken.
    pub ambiguous: Vec<String>,
}

/// The texts of a column, `None` where one is missing.
///
/// # Errors
/// If it holds no texts.
pub(crate) fn texts(column: &Column) -> Result<impl Iterator<Item = Option<&str>>, Error> {
    let is_text = |array: &ArrayRef| array.is_empty() || text_at(array.as_ref(), 0).is_some();
    if !column.batches().iter().all(is_text) {
        return Err(OutputError::NotText {
            column: column.field().name().clone(),
            data_type: column.field().data_type().to_string(),
        }
        .into());
    }
    let batches = column.batches().iter();
    Ok(batches.flat_map(|batch| (0..batch.len()).map(|row| text_at(batch.as_ref(), row).flatten())))
}

impl GeneSelection {
    /// The genes with these names in the index of a var table ([`Store::var`](crate::Store::var)).
    ///
    /// # Errors
    /// If a name is asked for twice, none is found, or the table cannot be read.
    pub fn by_names<S: AsRef<str>>(var: &Table, names: &[S]) -> Result<(Self, GeneReport), Error> {
        Self::by_texts(&var.names()?, names)
    }

    /// The genes with these names in another column of the var table, as one with identifiers besides symbols.
    ///
    /// # Errors
    /// If there is no such column or it holds no text, a name is asked for twice, none is found, or the
    /// table cannot be read.
    pub fn by_names_in<S: AsRef<str>>(
        var: &Table,
        column: &str,
        names: &[S],
    ) -> Result<(Self, GeneReport), Error> {
        Self::by_texts(&var.column(column)?, names)
    }

    fn by_texts<S: AsRef<str>>(column: &Column, names: &[S]) -> Result<(Self, GeneReport), Error> {
        Self::some_of(|| texts(column), names)
    }

    /// The genes with these names among `all`, which are the names of all columns: of a store, or of a
    /// [`Collection`](crate::loader::Collection).
    ///
    /// # Errors
    /// If a name is asked for twice, or none is found.
    pub fn among<A: AsRef<str>, S: AsRef<str>>(all: &[A], names: &[S]) -> Result<(Self, GeneReport), Error> {
        Self::some_of(|| Ok(all.iter().map(|name| Some(name.as_ref()))), names)
    }

    /// As [`Self::among`], but it may be that none is found.
    pub(crate) fn find<A: AsRef<str>, S: AsRef<str>>(
        all: &[A],
        names: &[S],
    ) -> Result<(Self, GeneReport), Error> {
        Self::of_texts(all.iter().map(|name| Some(name.as_ref())), names)
    }

    /// Refuses names of which none is found: they are of another kind, and the output would be zero.
    fn some_of<'a, S: AsRef<str>, I: Iterator<Item = Option<&'a str>>>(
        all: impl Fn() -> Result<I, Error>,
        names: &[S],
    ) -> Result<(Self, GeneReport), Error> {
        let (genes, report) = Self::of_texts(all()?, names)?;
        if report.missing.is_empty() || report.missing.len() < names.len() {
            return Ok((genes, report));
        }
        let (asked, held) = (few_and_more(names, EXAMPLES), few(all()?.flatten(), EXAMPLES));
        Err(OutputError::NoGenes { asked, held }.into())
    }

    fn of_texts<'a, S: AsRef<str>>(
        all: impl Iterator<Item = Option<&'a str>>,
        names: &[S],
    ) -> Result<(Self, GeneReport), Error> {
        let mut wanted: HashMap<&str, usize> = HashMap::with_capacity(names.len());
        for (place, name) in names.iter().enumerate() {
            if wanted.insert(name.as_ref(), place).is_some() {
                return Err(OutputError::RepeatedGene(name.as_ref().to_string()).into());
            }
        }
        let mut columns = vec![None; names.len()];
        let mut is_ambiguous = vec![false; names.len()];
        let mut n_vars = 0u32;
        for text in all {
            if let Some(&place) = text.and_then(|text| wanted.get(text)) {
                match columns[place] {
                    None => columns[place] = Some(n_vars),
                    Some(_) => is_ambiguous[place] = true,
                }
            }
            n_vars += 1;
        }
        let chosen = |is_chosen: &dyn Fn(usize) -> bool| {
            let places = (0..names.len()).filter(|&place| is_chosen(place));
            places.map(|place| names[place].as_ref().to_string()).collect()
        };
        let report = GeneReport {
            missing: chosen(&|place| columns[place].is_none()),
            ambiguous: chosen(&|place| is_ambiguous[place]),
        };
        Ok((Self::by_columns(n_vars.into(), &columns)?, report))
    }

    /// Output column `j` is column `columns[j]` of a store with `n_vars` columns, or zero where that is `None`.
    ///
    /// # Errors
    /// If a column is not below `n_vars` or occurs twice.
    pub fn by_columns(n_vars: u64, columns: &[Option<u32>]) -> Result<Self, Error> {
        let mut map = vec![DROPPED; usize::try_from(n_vars).unwrap_or(usize::MAX)];
        for (place, &column) in columns.iter().enumerate() {
            let Some(column) = column else { continue };
            match map.get_mut(column as usize) {
                None => return Err(OutputError::NoSuchColumn { column, n_vars }.into()),
                Some(taken) if *taken != DROPPED => return Err(OutputError::RepeatedColumn(column).into()),
                Some(free) => *free = place as u32,
            }
        }
        Ok(Self::of_map(map, columns.len()))
    }

    /// No output column occurs twice in `map`, and each is below `n_genes`.
    fn of_map(map: Vec<u32>, n_genes: usize) -> Self {
        let is_kept = |place: &&u32| **place != DROPPED;
        let kept = || map.iter().filter(is_kept);
        let bits = |chunk: &[u32]| {
            (0..)
                .zip(chunk)
                .map(|(bit, place)| u64::from(is_kept(&place)) << bit)
                .sum()
        };
        Self(Arc::new(Inner {
            is_ascending: kept().zip(kept().skip(1)).all(|(a, b)| a < b),
            keeps_all: map.iter().all(|place| is_kept(&place)),
            keeps_most: 4 * kept().count() >= 3 * map.len(),
            kept: map.chunks(64).map(bits).collect(),
            n_genes,
            map,
        }))
    }

    /// The selection that comes to the same as this one and then `next`, which is made for the columns of this one.
    pub(crate) fn then(&self, next: &Self) -> Self {
        assert_eq!(next.n_vars(), self.n_genes(), "made for these columns");
        let of = |&place: &u32| match place {
            DROPPED => DROPPED,
            place => next.0.map[place as usize],
        };
        Self::of_map(self.0.map.iter().map(of).collect(), next.n_genes())
    }

    /// Each of `n_vars` columns as it is, the first of `n_genes`: for a store whose columns begin a longer list.
    pub(crate) fn first(n_vars: usize, n_genes: usize) -> Self {
        Self::of_map((0..n_vars as u32).collect(), n_genes)
    }

    /// For each column of the output whether the store has it.
    pub(crate) fn present(&self) -> Vec<bool> {
        let mut present = vec![false; self.n_genes()];
        let kept = self.0.map.iter().filter(|&&place| place != DROPPED);
        kept.for_each(|&place| present[place as usize] = true);
        present
    }

    /// The column of the store that becomes this column of the output.
    pub(crate) fn source_of(&self, column: u32) -> Option<u32> {
        let place = self.0.map.iter().position(|&place| place == column)?;
        u32::try_from(place).ok()
    }

    /// Whether every column of the store keeps its number: then a row needs nothing done to it.
    pub(crate) fn is_identity(&self) -> bool {
        self.0.map.iter().zip(0..).all(|(&place, column)| place == column)
    }

    /// Columns of the output.
    pub fn n_genes(&self) -> usize {
        self.0.n_genes
    }

    /// Columns of the store that it is made for.
    pub fn n_vars(&self) -> usize {
        self.0.map.len()
    }

    /// For each column of the store that of the output, or a number that stands for none.
    pub(crate) fn map(&self) -> &[u32] {
        &self.0.map
    }

    /// Whether a row that ascends in the store ascends in the output too.
    pub(crate) fn is_ascending(&self) -> bool {
        self.0.is_ascending
    }

    /// Keeps of a row what is selected, at the front and under its new columns. Gives how many that are. `places` is memory.
    pub(super) fn select<T: Copy>(
        &self,
        lanes: Lanes,
        indices: &mut [i32],
        values: &mut [T],
        places: &mut Vec<u32>,
    ) -> usize {
        let map = self.0.map.as_slice();
        if self.0.keeps_all {
            indices
                .iter_mut()
                .for_each(|index| *index = map[*index as usize] as i32);
            return indices.len();
        }
        if self.0.keeps_most {
            // Without a branch on what is kept, which nothing could predict: what is not is written over.
            let mut n = 0;
            for k in 0..indices.len().min(values.len()) {
                let place = map[indices[k] as usize];
                (indices[n], values[n]) = (place as i32, values[k]);
                n += usize::from(place != DROPPED);
            }
            return n;
        }
        let n = lanes.kept_places(&self.0.kept, indices, places);
        for (to, &from) in places[..n].iter().enumerate() {
            let from = from as usize;
            (indices[to], values[to]) = (map[indices[from] as usize] as i32, values[from]);
        }
        n
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Cause;

    fn select(genes: &GeneSelection, indices: &mut [i32], values: &mut [i32]) -> usize {
        genes.select(Lanes::default(), indices, values, &mut vec![])
    }

    #[test]
    fn a_selection_keeps_renames_and_says_whether_it_ascends() {
        let genes = GeneSelection::by_columns(6, &[Some(4), None, Some(0), Some(5)]).unwrap();
        assert_eq!((genes.n_genes(), genes.n_vars()), (4, 6));
        assert!(!genes.is_ascending());
        let (mut indices, mut values) = ([0, 1, 4, 5], [10, 11, 14, 15]);
        assert_eq!(select(&genes, &mut indices, &mut values), 3);
        assert_eq!((&indices[..3], &values[..3]), (&[2, 0, 3][..], &[10, 14, 15][..]));
        let genes = GeneSelection::by_columns(6, &[None, Some(1), Some(3), None, Some(4)]).unwrap();
        assert!(genes.is_ascending());
        assert_eq!(select(&genes, &mut [0, 2, 5], &mut [1, 2, 3]), 0);
        assert!(GeneSelection::by_columns(0, &[]).unwrap().is_ascending());
    }

    /// What keeps most columns is selected by another loop.
    #[test]
    fn few_and_most_columns_are_selected_alike() {
        for n_dropped in [1, 5, 10, 39] {
            // 40 columns in no order, some of them dropped.
            let columns: Vec<u32> = (0..40).map(|k| (k * 27 + 5) % 40).skip(n_dropped).collect();
            let genes = GeneSelection::by_columns(40, &columns.iter().copied().map(Some).collect::<Vec<_>>())
                .unwrap();
            let row = [0, 1, 3, 4, 7, 8, 20, 21, 22, 33, 38, 39];
            let place = |column: i32| columns.iter().position(|&of| of == column as u32);
            let expected: Vec<(i32, i32)> = { row.iter() }
                .filter_map(|&column| Some((place(column)? as i32, 100 + column)))
                .collect();
            let (mut indices, mut values) = (row, row.map(|column| 100 + column));
            let n = select(&genes, &mut indices, &mut values);
            let found: Vec<_> = indices.into_iter().zip(values).take(n).collect();
            assert_eq!(found, expected, "without {n_dropped}");
        }
    }

    #[test]
    fn selections_one_after_the_other_are_one() {
        let some = |columns: &[u32]| columns.iter().copied().map(Some).collect::<Vec<_>>();
        // A cycle of three, so that taking the inverse would show.
        let first = GeneSelection::by_columns(4, &some(&[1, 2, 0])).unwrap();
        let second = GeneSelection::by_columns(3, &[Some(2), None, Some(0)]).unwrap();
        let both = first.then(&second);
        assert_eq!((both.n_vars(), both.n_genes()), (4, 3));
        let (mut indices, mut values) = ([0, 1, 2, 3], [10, 11, 12, 13]);
        assert_eq!(select(&both, &mut indices, &mut values), 2);
        assert_eq!((&indices[..2], &values[..2]), (&[0, 2][..], &[10, 11][..]));
        let back = GeneSelection::by_columns(3, &some(&[2, 0, 1])).unwrap();
        let forth = GeneSelection::by_columns(3, &some(&[1, 2, 0])).unwrap();
        assert!(back.then(&forth).is_identity() && !back.then(&back).is_identity());
        assert!(GeneSelection::first(3, 5).is_identity() && !first.is_identity());
    }

    #[test]
    fn names_are_found_among_others() {
        let (genes, report) = GeneSelection::among(&["a", "b", "c", "b"], &["c", "x", "b"]).unwrap();
        assert_eq!((genes.n_vars(), genes.n_genes()), (4, 3));
        assert_eq!(
            (report.missing, report.ambiguous),
            (vec!["x".to_string()], vec!["b".to_string()])
        );
        let mut indices = [0, 1, 2, 3];
        assert_eq!(select(&genes, &mut indices, &mut [0; 4]), 2);
        assert_eq!(indices[..2], [2, 0]);
        assert!(matches!(
            GeneSelection::among(&["a"], &["a", "a"]),
            Err(error) if matches!(error.cause(), Cause::Output(OutputError::RepeatedGene(name)) if name == "a")
        ));
    }

    #[test]
    fn columns_that_are_not_there_or_taken_twice_are_refused() {
        assert!(matches!(
            GeneSelection::by_columns(3, &[Some(3)]),
            Err(error) if matches!(error.cause(), Cause::Output(OutputError::NoSuchColumn { column: 3, n_vars: 3 }))
        ));
        assert!(matches!(
            GeneSelection::by_columns(3, &[Some(1), Some(2), Some(1)]),
            Err(error) if matches!(error.cause(), Cause::Output(OutputError::RepeatedColumn(1)))
        ));
    }
}
