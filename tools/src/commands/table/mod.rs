//! `cellring obs` and `cellring var`: what is in the tables of a store, and all that a filter needs.

mod quantiles;
mod report;
mod rows;
mod subject;
mod summary;
mod value;

use cellring::Store;
use cellring::format::constants::ROLE_KEY;
use clap::value_parser;
use rayon::prelude::*;

use crate::failure::Failure;
use crate::options::StoreArg;
use crate::output;
use report::{ColumnReport, TableReport};
use subject::Subject;

/// Show what is in the obs table: its columns, or the values of one
///
/// Without COLUMN a line for each: type as pandas names it, how many values are missing, how many different ones there are, and
/// the range of numbers or the most frequent values. With COLUMN all its values with their counts, and quantiles of numbers. Names and
/// values are printed as `--obs-filter` takes them. Different values are counted up to 100,000.
#[derive(Debug, clap::Args)]
pub(crate) struct ObsArgs {
    #[command(flatten)]
    store: StoreArg,
    /// The column to look into
    #[arg(value_name = "COLUMN")]
    column: Option<String>,
    #[command(flatten)]
    view: ViewArgs,
}

/// Show what is in the var table: its columns, or the values of one
///
/// As `cellring obs`; genes are in the order of the store.
#[derive(Debug, clap::Args)]
pub(crate) struct VarArgs {
    #[command(flatten)]
    store: StoreArg,
    /// The column to look into
    #[arg(value_name = "COLUMN")]
    column: Option<String>,
    /// The genes of this other matrix, such as raw/X [default: those of the first]
    #[arg(long, value_name = "NAME")]
    matrix: Option<String>,
    #[command(flatten)]
    view: ViewArgs,
}

#[derive(Debug, clap::Args)]
struct ViewArgs {
    /// Show this many of the values of COLUMN, the most frequent first; 0 for all
    #[arg(
        long,
        value_name = "N",
        default_value_t = 20,
        requires = "column",
        conflicts_with = "head"
    )]
    limit: usize,
    /// Show the first N rows instead
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..))]
    head: Option<u64>,
    /// Print one JSON object; of --head one for each row
    #[arg(long)]
    json: bool,
}

pub(crate) fn obs(args: ObsArgs) -> Result<(), Failure> {
    let store = args.store.open()?;
    let subject = Subject {
        table: store.obs(),
        rows: "cells",
        has_filters: true,
    };
    show(&subject, args.column.as_deref(), &args.view)
}

pub(crate) fn var(args: VarArgs) -> Result<(), Failure> {
    let store = args.store.open()?;
    let subject = Subject {
        table: matrix(&store, args.matrix.as_deref())?.var(),
        rows: "genes",
        has_filters: false,
    };
    show(&subject, args.column.as_deref(), &args.view)
}

/// The matrix of this name; a store of a single one calls it X.
fn matrix<'a>(store: &'a Store, name: Option<&str>) -> Result<&'a Store, Failure> {
    match name {
        None => Ok(store),
        Some(name) if store.name().unwrap_or("X") == name => Ok(store),
        Some(name) => Ok(store.matrix(name)?),
    }
}

fn show(subject: &Subject<'_>, column: Option<&str>, view: &ViewArgs) -> Result<(), Failure> {
    if let Some(n) = view.head {
        return rows::print(subject.table, column, n, view.json);
    }
    match column {
        Some(name) => {
            let report = ColumnReport::whole(subject, &subject.table.column(name)?, view.limit);
            output::print(view.json, &report)
        }
        None => output::print(view.json, &overview(subject)?),
    }
}

/// Every column by itself, on all cores: each keeps little.
fn overview<'a>(subject: &Subject<'a>) -> Result<TableReport<'a>, Failure> {
    let names = subject.table.column_names()?;
    let table = subject.table;
    let columns = names.par_iter().map(|name| table.column(name));
    let columns = columns.map(|column| Ok(ColumnReport::brief(subject.has_filters, &column?)));
    let columns: Result<Vec<_>, cellring::Error> = columns.collect();
    let fields = table.schema()?.fields().iter();
    let index = fields.filter(|field| field.metadata().contains_key(ROLE_KEY));
    TableReport::new(subject, index.map(|field| field.name().as_str()).next(), columns?)
}
