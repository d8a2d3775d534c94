//! What the index says of the files that it leads to, and of the inputs in them.

use cellring_core::ValueType;

use super::array::{ArrayLayout, ArrayRole, MAX_PATH_BYTES};
use super::bytes::Reader;
use super::file::LinkedFile;
use super::input::{ColumnMap, LinkedInput};

/// Most column maps: each is allocated by itself.
const MAX_MAPS: u32 = 1 << 16;
/// How many times their bytes values may take that are in files. Deflate makes of one byte at most 1,032; but chunks that are not there, or
/// are the same for many places, cost an index next to nothing, and whoever reads them time.
const MAX_EXPANSION: u64 = 1100;

/// The numbers of a matrix that its description has to agree with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Totals {
    pub(crate) n_obs: u64,
    pub(crate) n_vars: u64,
    /// Values that are stored.
    pub(crate) nnz: u64,
    /// Type of the values.
    pub(crate) value_type: ValueType,
    /// Whether the manifest says that the index describes its inputs one by one.
    pub(crate) is_joined: bool,
}

/// What the index says of files and inputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Description {
    pub(crate) files: Vec<LinkedFile>,
    /// Whether it describes inputs one by one; else there is one, with the columns and the type of the matrix.
    pub(crate) is_joined: bool,
    /// By which the columns of inputs become those of the matrix.
    pub(crate) maps: Vec<ColumnMap>,
    /// Whose obs follow each other.
    pub(crate) inputs: Vec<LinkedInput>,
}

impl Description {
    /// Its bytes.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend((self.files.len() as u32).to_le_bytes());
        self.files.iter().for_each(|file| file.put(&mut out));
        if !self.is_joined {
            self.inputs.iter().for_each(|input| input.put_arrays(&mut out));
            return out;
        }
        out.extend((self.maps.len() as u32).to_le_bytes());
        for map in &self.maps {
            out.extend((map.len() as u32).to_le_bytes());
            map.iter().for_each(|column| out.extend(column.to_le_bytes()));
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
        let files = (0..n_files)
            .map(|_| LinkedFile::take(reader))
            .collect::<Option<_>>()?;
        if !totals.is_joined {
            let input = LinkedInput {
                n_obs: totals.n_obs,
                n_values: totals.nnz,
                file: 0,
                map: None,
                arrays: LinkedInput::take_arrays(reader)?,
            };
            return Some(Self {
                files,
                is_joined: false,
                maps: Vec::new(),
                inputs: vec![input],
            });
        }
        let n_maps = reader.u32().filter(|&n| n <= MAX_MAPS)?;
        let maps = (0..n_maps).map(|_| map(reader)).collect::<Option<_>>()?;
        let n_inputs = reader.u32()?;
        let inputs = (0..n_inputs)
            .map(|_| LinkedInput::take(reader))
            .collect::<Option<_>>()?;
        Some(Self {
            files,
            is_joined: true,
            maps,
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
        self.files.iter().try_for_each(LinkedFile::check_pieces)?;
        let is_plain_input =
            |input: &LinkedInput| input.map.is_none() && input.arrays[1].value_type == totals.value_type;
        let fits = match self.inputs.as_slice() {
            [] => false,
            [one] => self.is_joined || is_plain_input(one),
            _ => self.is_joined,
        };
        if self.is_joined != totals.is_joined || !fits {
            return Err("its inputs are not those of a store that is joined or not, or the values have another type than the manifest says".to_owned());
        }
        if self.maps.len() > MAX_MAPS as usize {
            return Err(format!(
                "{} different column maps, expected at most {MAX_MAPS}",
                self.maps.len()
            ));
        }
        for (number, map) in self.maps.iter().enumerate() {
            map.check(totals.n_vars)
                .map_err(|rule| format!("column map {number} {rule}"))?;
        }
        let (mut n_obs, mut nnz) = (0u64, 0u64);
        for (number, input) in self.inputs.iter().enumerate() {
            input
                .check(self.maps.len(), self.files.len())
                .map_err(|rule| format!("input {number}: {rule}"))?;
            n_obs = n_obs.saturating_add(input.n_obs);
            nnz = nnz.saturating_add(input.n_values);
        }
        if (n_obs, nnz) != (totals.n_obs, totals.nnz) {
            return Err(format!(
                "the inputs have {n_obs} obs and {nnz} values, expected {} and {}",
                totals.n_obs, totals.nnz
            ));
        }
        ArrayRole::BOTH
            .into_iter()
            .try_for_each(|role| self.check_expansion(role))
    }

    /// Whether the files may hold an array of all inputs.
    ///
    /// # Errors
    /// If it is far larger than they are.
    fn check_expansion(&self, role: ArrayRole) -> Result<(), String> {
        let of_input = |input: &LinkedInput| match &input.arrays[role as usize] {
            array if array.layout == ArrayLayout::Implied => 0,
            array => input
                .n_values
                .saturating_mul(array.value_type.size_bytes() as u64),
        };
        let sum = |all: u64, bytes: u64| all.saturating_add(bytes);
        let array_bytes = self.inputs.iter().map(of_input).fold(0, sum);
        let file_bytes = self.files.iter().map(|file| file.bytes).fold(0, sum);
        match array_bytes <= file_bytes.saturating_mul(MAX_EXPANSION) {
            true => Ok(()),
            false => Err(format!(
                "{} takes {array_bytes} bytes, and the files that it is in have {file_bytes} together, expected at most {MAX_EXPANSION} times as many",
                role.name()
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
        let of_map = input.map.map(|number| self.maps[number as usize].len() as u64);
        of_map.unwrap_or(of_matrix)
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

fn map(reader: &mut Reader<'_>) -> Option<ColumnMap> {
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
    use crate::format::linked::{LinkedArray, Piece};

    const ONE: Totals = Totals {
        n_obs: 9,
        n_vars: 4,
        nnz: 30,
        value_type: ValueType::F32,
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
            layout: ArrayLayout::Chunks { elements: 1000 },
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
                pieces: vec![
                    Piece {
                        offset_bytes: 7,
                        n_bytes: 3,
                    },
                    Piece {
                        offset_bytes: 1 << 33,
                        n_bytes: 4 << 10,
                    },
                ],
            }],
            is_joined: false,
            maps: vec![],
            inputs: vec![LinkedInput {
                n_obs: 9,
                n_values: 30,
                file: 0,
                map: None,
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
        joined.is_joined = true;
        joined.maps = vec![vec![2, ColumnMap::NOT_KEPT, 0].into(), vec![].into()];
        let mut other = joined.inputs[0].clone();
        (other.n_obs, other.n_values, other.map) = (3, 0, Some(0));
        joined.inputs.push(other);
        joined
    }

    #[test]
    fn descriptions_survive_the_way_back_and_cut_ones_are_refused() {
        for (whole, totals) in [(description(), ONE), (joined(), JOINED)] {
            let bytes = whole.to_bytes();
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
        let changes: [(&str, Change<'_>); 10] = [
            ("an obs too many", &|found| found.inputs[0].n_obs = 10),
            ("sums that wrap", &|found| found.inputs[0].n_obs = u64::MAX - 2),
            ("a value too many", &|found| found.inputs[1].n_values = 1),
            ("no such map", &|found| found.inputs[1].map = Some(2)),
            ("no such file", &|found| found.inputs[1].file = 1),
            ("no such column", &|found| {
                found.maps[0] = vec![0, 4].into();
            }),
            ("a column twice", &|found| {
                found.maps[0] = vec![3, 1, 3].into();
            }),
            ("an input too few", &|found| drop(found.inputs.pop())),
            ("no input", &|found| found.inputs.clear()),
            ("not joined", &|found| found.is_joined = false),
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
            (arrays[0].layout, arrays[1].layout) = (columns, values);
        };
        let indices = &mut dense.inputs[0].arrays[0];
        (indices.n_extents, indices.filters) = (0, vec![]);
        for shape in [
            ArrayLayout::Runs,
            ArrayLayout::Tiles {
                rows: 7,
                columns: 300,
            },
        ] {
            arrays(&mut dense, ArrayLayout::Implied, shape);
            let bytes = dense.to_bytes();
            assert_eq!(Description::from_bytes(&bytes, &ONE).unwrap(), dense);
        }
        for (columns, values) in [
            (ArrayLayout::Implied, ArrayLayout::Chunks { elements: 9 }),
            (ArrayLayout::Implied, ArrayLayout::Implied),
            (ArrayLayout::Runs, ArrayLayout::Tiles { rows: 1, columns: 1 }),
            (ArrayLayout::Tiles { rows: 1, columns: 1 }, ArrayLayout::Runs),
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

    /// Files may be of any length, and inputs of any number, without a sum that wraps.
    #[test]
    fn arrays_that_their_files_cannot_hold_are_refused() {
        let totals = Totals { nnz: 5500 / 4, ..ONE };
        // The columns have 8 bytes each.
        for (file_bytes, n_values, is_sound) in [(10, 1375, true), (9, 1375, false), (0, 1375, false)] {
            let mut found = description();
            found.files[0].pieces.clear();
            found.files[0].bytes = file_bytes;
            found.inputs[0].n_values = n_values;
            assert_eq!(found.check(&totals).is_ok(), is_sound, "{file_bytes} bytes");
        }
        let mut found = description();
        found.files[0].pieces.clear();
        found.inputs[0].n_values = totals.nnz;
        (found.files[0].bytes, found.inputs[0].arrays[0].layout) = (5, ArrayLayout::Implied);
        (
            found.inputs[0].arrays[0].n_extents,
            found.inputs[0].arrays[0].filters,
        ) = (0, vec![]);
        found.inputs[0].arrays[1].layout = ArrayLayout::Runs;
        found.check(&totals).unwrap();
        found.files[0].bytes = 4;
        let rule = found.check(&totals).unwrap_err();
        assert!(
            rule.contains("data takes 5500 bytes") && rule.contains("1100 times"),
            "{rule}"
        );
        let mut found = joined();
        found.files[0].pieces.clear();
        found.inputs[1].n_values = u64::MAX - 20;
        let all = Totals {
            nnz: u64::MAX,
            ..JOINED
        };
        assert!(
            found
                .check(&all)
                .unwrap_err()
                .contains("takes 18446744073709551615 bytes")
        );
        found.files[0].bytes = u64::MAX;
        found.check(&all).unwrap();
    }

    #[test]
    fn what_would_take_much_memory_is_refused() {
        type Change<'a> = &'a dyn Fn(&mut [LinkedArray; 2]);
        let changes: [Change<'_>; 3] = [
            &|arrays| arrays[1].layout = ArrayLayout::Chunks { elements: 1 << 30 },
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
