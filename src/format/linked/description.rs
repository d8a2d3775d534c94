//! What the index says of the files that it leads to, and of the inputs in them.

use super::array::MAX_PATH_BYTES;
use super::bytes::{Reader, put_text};
use super::input::{Columns, LinkedInput};

/// Most columns of all lists together: some hundred different annotations.
const MAX_LISTED_COLUMNS: u64 = 1 << 26;

/// A file of the source, and how it is recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LinkedFile {
    /// From the root below which all of them are: plain components, one after the other.
    pub(crate) path: String,
    /// Length.
    pub(crate) bytes: u64,
    /// When it was last modified: seconds since 1970, and nanoseconds.
    pub(crate) modified: (i64, u32),
    /// Checksum of samples of its bytes.
    pub(crate) fingerprint: u64,
}

/// The numbers of a matrix that its description has to agree with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Totals {
    pub(crate) n_obs: u64,
    pub(crate) n_vars: u64,
    /// Values that are stored.
    pub(crate) nnz: u64,
    /// Whether the store says that its matrices are those of several inputs.
    pub(crate) is_joined: bool,
}

/// What the index says of files and inputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Description {
    pub(crate) files: Vec<LinkedFile>,
    /// The lists by which the columns of inputs become those of the matrix.
    pub(crate) columns: Vec<Columns>,
    /// Whose obs follow each other. A store that is not joined has one, with the columns of the matrix.
    pub(crate) inputs: Vec<LinkedInput>,
}

impl Description {
    /// Its bytes.
    pub(crate) fn to_bytes(&self, is_joined: bool) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend((self.files.len() as u32).to_le_bytes());
        for file in &self.files {
            put_text(&file.path, &mut out);
            out.extend(file.bytes.to_le_bytes());
            out.extend(file.modified.0.to_le_bytes());
            out.extend(file.modified.1.to_le_bytes());
            out.extend(file.fingerprint.to_le_bytes());
        }
        if !is_joined {
            self.inputs.iter().for_each(|input| input.put_arrays(&mut out));
            return out;
        }
        out.extend((self.columns.len() as u32).to_le_bytes());
        for columns in &self.columns {
            out.extend((columns.len() as u32).to_le_bytes());
            columns.iter().for_each(|column| out.extend(column.to_le_bytes()));
        }
        out.extend((self.inputs.len() as u32).to_le_bytes());
        for input in &self.inputs {
            input.put(&mut out);
        }
        out
    }

    /// Reads and checks it: what is allocated, divided by or opened later rests on it.
    ///
    /// # Errors
    /// The rule that is broken.
    pub(crate) fn from_bytes(bytes: &[u8], totals: &Totals) -> Result<Self, String> {
        let mut reader = Reader(bytes);
        let found = Self::take(&mut reader, totals)
            .ok_or_else(|| "the description ends early, or a type or text in it is none".to_owned())?;
        if !reader.0.is_empty() {
            return Err(format!("{} bytes follow the description", reader.0.len()));
        }
        found.check(totals)?;
        Ok(found)
    }

    fn take(reader: &mut Reader<'_>, totals: &Totals) -> Option<Self> {
        let n_files = reader.u32()?;
        let files = (0..n_files).map(|_| file(reader)).collect::<Option<_>>()?;
        if !totals.is_joined {
            let input = LinkedInput {
                n_obs: totals.n_obs,
                n_values: totals.nnz,
                file: 0,
                columns: None,
                arrays: LinkedInput::take_arrays(reader)?,
            };
            return Some(Self {
                files,
                columns: Vec::new(),
                inputs: vec![input],
            });
        }
        let n_lists = reader.u32()?;
        let columns = (0..n_lists).map(|_| list(reader)).collect::<Option<_>>()?;
        let n_inputs = reader.u32()?;
        let inputs = (0..n_inputs)
            .map(|_| LinkedInput::take(reader))
            .collect::<Option<_>>()?;
        Some(Self {
            files,
            columns,
            inputs,
        })
    }

    /// Whether all of it fits together.
    ///
    /// # Errors
    /// The rule that is broken.
    pub(crate) fn check(&self, totals: &Totals) -> Result<(), String> {
        if let Some(file) = self.files.iter().find(|file| !is_plain(&file.path)) {
            return Err(format!("{:?} is not a plain relative path", file.path));
        }
        if !totals.is_joined && (self.inputs.len() != 1 || !self.columns.is_empty()) {
            return Err("only a joined store has several inputs, or lists of columns".to_owned());
        }
        let listed = self.columns.iter().map(|list| list.len() as u64).sum::<u64>();
        if listed > MAX_LISTED_COLUMNS {
            return Err(format!(
                "the lists of columns have {listed} entries, expected at most {MAX_LISTED_COLUMNS}"
            ));
        }
        for (number, list) in self.columns.iter().enumerate() {
            list.check(totals.n_vars)
                .map_err(|rule| format!("list {number} of columns {rule}"))?;
        }
        let (mut n_obs, mut nnz) = (0u64, 0u64);
        for (number, input) in self.inputs.iter().enumerate() {
            input
                .check(self.columns.len(), self.files.len())
                .map_err(|rule| format!("input {number}: {rule}"))?;
            n_obs = n_obs.saturating_add(input.n_obs);
            nnz = nnz.saturating_add(input.n_values);
        }
        match (n_obs, nnz) == (totals.n_obs, totals.nnz) {
            true => Ok(()),
            false => Err(format!(
                "the inputs have {n_obs} obs and {nnz} values, expected {} and {}",
                totals.n_obs, totals.nnz
            )),
        }
    }

    /// The path of one file of each input that is in any.
    pub(crate) fn input_files(&self) -> impl Iterator<Item = &str> {
        let file = |input: &LinkedInput| self.files.get(input.file as usize);
        self.inputs.iter().filter_map(file).map(|file| file.path.as_str())
    }

    /// Number of columns of an input.
    pub(crate) fn n_vars(&self, input: &LinkedInput, of_matrix: u64) -> u64 {
        let list = input.columns.map(|list| self.columns[list as usize].len() as u64);
        list.unwrap_or(of_matrix)
    }

    /// Extents of the columns and of the values, of all inputs.
    ///
    /// `None` if there are 2^64 or more.
    pub(crate) fn n_extents(&self) -> Option<[u64; 2]> {
        let mut found = [0u64; 2];
        for input in &self.inputs {
            for (all, array) in found.iter_mut().zip(&input.arrays) {
                *all = all.checked_add(array.n_extents)?;
            }
        }
        Some(found)
    }
}

/// Whether a path leads below where it starts, whatever is there: components, none of which is `.` or `..`.
fn is_plain(path: &str) -> bool {
    let mut components = path.split('/');
    path.len() <= MAX_PATH_BYTES
        && !path.contains('\0')
        && components.all(|component| !matches!(component, "" | "." | ".."))
}

fn file(reader: &mut Reader<'_>) -> Option<LinkedFile> {
    Some(LinkedFile {
        path: reader.text()?,
        bytes: reader.u64()?,
        modified: (reader.i64()?, reader.u32()?),
        fingerprint: reader.u64()?,
    })
}

fn list(reader: &mut Reader<'_>) -> Option<Columns> {
    let n = reader.u32()? as usize;
    let words = reader.take(n.checked_mul(4)?)?.as_chunks::<4>().0;
    let columns: Vec<u32> = words.iter().map(|&word| u32::from_le_bytes(word)).collect();
    Some(columns.into())
}

#[cfg(test)]
mod tests {
    use cellring_core::ValueType;
    use cellring_filters::Filter;

    use super::*;
    use crate::format::linked::{LinkedArray, Shape};

    const ONE: Totals = Totals {
        n_obs: 9,
        n_vars: 4,
        nnz: 30,
        is_joined: false,
    };
    const JOINED: Totals = Totals {
        n_obs: 12,
        nnz: 30,
        is_joined: true,
        ..ONE
    };

    fn description() -> Description {
        let array = |path: &str, value_type, filters| LinkedArray {
            path: path.to_owned(),
            value_type,
            big_endian: true,
            shape: Shape::Chunks { elements: 1000 },
            n_extents: 7,
            filters,
            fill: [1, 2, 3, 4, 5, 6, 7, 8],
        };
        let shuffle = Filter {
            id: 2,
            name: None,
            client_data: vec![4, 9],
        };
        Description {
            files: vec![LinkedFile {
                path: "raw/a b.h5ad".to_owned(),
                bytes: 1 << 40,
                modified: (-3, 999_999_999),
                fingerprint: u64::MAX,
            }],
            columns: vec![],
            inputs: vec![LinkedInput {
                n_obs: 9,
                n_values: 30,
                file: 0,
                columns: None,
                arrays: [
                    array("X/indices", ValueType::I64, vec![shuffle]),
                    array("X/data", ValueType::F32, vec![]),
                ],
            }],
        }
    }

    /// The obs of two inputs, of which the second has other columns.
    fn joined() -> Description {
        let mut joined = description();
        joined.columns = vec![vec![2, Columns::NOT_KEPT, 0].into(), vec![].into()];
        let mut other = joined.inputs[0].clone();
        (other.n_obs, other.n_values, other.columns) = (3, 0, Some(0));
        joined.inputs.push(other);
        joined
    }

    #[test]
    fn descriptions_survive_the_way_back_and_cut_ones_are_refused() {
        for (whole, totals) in [(description(), ONE), (joined(), JOINED)] {
            let bytes = whole.to_bytes(totals.is_joined);
            assert_eq!(Description::from_bytes(&bytes, &totals).unwrap(), whole);
            for n in 0..bytes.len() {
                assert!(
                    Description::from_bytes(&bytes[..n], &totals).is_err(),
                    "{n} bytes"
                );
            }
            let longer = [bytes.as_slice(), &[0]].concat();
            assert!(Description::from_bytes(&longer, &totals).is_err());
        }
    }

    #[test]
    fn what_inputs_are_joined_by_fits_together() {
        type Change<'a> = &'a dyn Fn(&mut Description);
        let changes: [(&str, Change<'_>); 8] = [
            ("an obs too many", &|found| found.inputs[0].n_obs = 10),
            ("sums that wrap", &|found| found.inputs[0].n_obs = u64::MAX - 2),
            ("a value too many", &|found| found.inputs[1].n_values = 1),
            ("no such list", &|found| found.inputs[1].columns = Some(2)),
            ("no such file", &|found| found.inputs[1].file = 1),
            ("no such column", &|found| {
                found.columns[0] = vec![0, 4].into();
            }),
            ("a column twice", &|found| {
                found.columns[0] = vec![3, 1, 3].into();
            }),
            ("an input too few", &|found| drop(found.inputs.pop())),
        ];
        for (what, change) in changes {
            let mut wrong = joined();
            change(&mut wrong);
            assert!(wrong.check(&JOINED).is_err(), "{what}");
        }
        let of_one = Totals {
            is_joined: false,
            ..JOINED
        };
        assert!(joined().check(&of_one).is_err());
        assert_eq!(joined().n_extents(), Some([14, 14]));
        let more = LinkedInput {
            arrays: [0, 1].map(|k: usize| LinkedArray {
                n_extents: u64::MAX,
                ..joined().inputs[0].arrays[k].clone()
            }),
            ..joined().inputs[0].clone()
        };
        let mut many = joined();
        many.inputs.push(more);
        assert_eq!(many.n_extents(), None);
    }

    #[test]
    fn dense_matrices_have_tiles_and_no_columns() {
        let mut dense = description();
        let arrays = |dense: &mut Description, columns, values| {
            let arrays = &mut dense.inputs[0].arrays;
            (arrays[0].shape, arrays[1].shape) = (columns, values);
        };
        let indices = &mut dense.inputs[0].arrays[0];
        (indices.n_extents, indices.filters) = (0, vec![]);
        for shape in [
            Shape::Runs,
            Shape::Tiles {
                rows: 7,
                columns: 300,
            },
        ] {
            arrays(&mut dense, Shape::Implied, shape);
            let bytes = dense.to_bytes(false);
            assert_eq!(Description::from_bytes(&bytes, &ONE).unwrap(), dense);
        }
        for (columns, values) in [
            (Shape::Implied, Shape::Chunks { elements: 9 }),
            (Shape::Implied, Shape::Implied),
            (Shape::Runs, Shape::Tiles { rows: 1, columns: 1 }),
            (Shape::Tiles { rows: 1, columns: 1 }, Shape::Runs),
        ] {
            arrays(&mut dense, columns, values);
            assert!(dense.check(&ONE).is_err(), "{columns:?} {values:?}");
        }
    }

    #[test]
    fn paths_lead_nowhere_else() {
        for path in [
            "",
            "/etc/passwd",
            "../x",
            "a/../../x",
            "a/./b",
            "a//b",
            "a/",
            "a\0b",
        ] {
            let mut wrong = description();
            path.clone_into(&mut wrong.files[0].path);
            assert!(wrong.check(&ONE).is_err(), "{path:?}");
        }
        assert!(is_plain("a/b c/d.h5ad"));
    }

    #[test]
    fn what_would_take_much_memory_is_refused() {
        type Change<'a> = &'a dyn Fn(&mut [LinkedArray; 2]);
        let changes: [Change<'_>; 3] = [
            &|arrays| arrays[1].shape = Shape::Chunks { elements: 1 << 30 },
            &|arrays| arrays[0].value_type = ValueType::F32,
            &|arrays| arrays[0].filters[0].id = 4711,
        ];
        for (number, change) in changes.iter().enumerate() {
            let mut wrong = description();
            change(&mut wrong.inputs[0].arrays);
            assert!(wrong.check(&ONE).is_err(), "{number}");
        }
    }
}
