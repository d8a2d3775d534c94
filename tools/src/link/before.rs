//! What a linked store was, for whoever links its files again: another file may have taken the name of one.

use std::path::Path;

use arrow_array::ArrayRef;
use cellring::Store;
use cellring::format::ValueType;
use cellring::format::constants::{ROLE_INDEX, ROLE_KEY};
use cellring::format::table::Table;
use cellring::store::LinkTargets;

/// What is compared of a linked store with what it becomes.
pub(super) struct Before {
    obs: Rows,
    var: Rows,
    value_type: ValueType,
}

/// The rows of a table.
struct Rows {
    n: u64,
    /// The names of the first 65,536.
    names: Option<ArrayRef>,
}

impl Before {
    /// That of a store whose files need not be there; `None` if it is damaged.
    pub(super) fn of(store: &Path) -> Option<Self> {
        let targets = LinkTargets::read(store).ok()??;
        let [obs, var] = targets.tables(store).ok()?;
        Some(Self {
            obs: Rows::of(&obs),
            var: Rows::of(&var),
            value_type: targets.manifest.value_type,
        })
    }

    /// In one sentence what is different in the store that took its place; `None` if nothing is.
    pub(super) fn changes(&self, now: &Store) -> Option<String> {
        let mut changes = self.obs.changes(&Rows::of(now.obs()), "obs");
        changes.extend(self.var.changes(&Rows::of(now.var()), "genes"));
        let value_type = now.manifest().value_type;
        if value_type != self.value_type {
            changes.push(format!(
                "values of type {}, before {}",
                value_type.numpy_name(),
                self.value_type.numpy_name()
            ));
        }
        (!changes.is_empty()).then(|| {
            format!(
                "what is linked now is not what was: {}; if that was not meant, put back the file that was linked, and refresh again",
                changes.join("; ")
            )
        })
    }
}

impl Rows {
    fn of(table: &Table) -> Self {
        Self {
            n: table.n_rows(),
            names: names(table),
        }
    }

    fn changes(&self, now: &Self, what: &str) -> Vec<String> {
        let mut changes = Vec::new();
        if now.n != self.n {
            changes.push(format!("{} {what}, before {}", now.n, self.n));
        }
        if let (Some(names), Some(before)) = (&now.names, &self.names) {
            let n = names.len().min(before.len());
            let is_other = |row: &usize| names.slice(*row, 1).as_ref() != before.slice(*row, 1).as_ref();
            let is_same = names.slice(0, n).as_ref() == before.slice(0, n).as_ref();
            let n_others = if is_same {
                0
            } else {
                (0..n).filter(is_other).count()
            };
            if n_others > 0 {
                changes.push(format!("{n_others} of the first {n} {what} have other names"));
            }
        }
        changes
    }
}

/// The first names; `None` if there are none, or they are damaged.
fn names(table: &Table) -> Option<ArrayRef> {
    let fields = table.schema().ok()?.fields();
    let is_index = |role: &String| role == ROLE_INDEX;
    let place = fields
        .iter()
        .position(|field| field.metadata().get(ROLE_KEY).is_some_and(is_index))?;
    let has_rows = table.n_rows() > 0;
    let batch = has_rows.then(|| table.batch(0).ok()).flatten()?;
    Some(batch.column(place).clone())
}
