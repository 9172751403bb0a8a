//! The options of the commands that show objects: get, describe, status, log, doctor.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::options::{Output, SpecsOption};
use crate::report::LabelSelector;

/// The output formats of `get`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum GetFormat {
    /// Table
    Table,
    /// JSON array of objects
    Json,
    /// `kind/name`, one per line
    Name,
    /// Table with more columns
    Wide,
    /// The JSON array in YAML
    Yaml,
}

/// The output formats of `describe`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DescribeFormat {
    /// For people
    Text,
    /// The objects with their history
    Json,
    /// The same in YAML
    Yaml,
}

#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    /// KIND, KIND NAME …, KIND/NAME …, or NAME …, where NAME may contain `*` and `?`; kinds are volume, snapshot, export and backend, or
    /// several: volumes,snapshots; default: all objects except backends
    #[arg(value_name = "OBJECT")]
    pub(crate) what: Vec<String>,
    /// Only objects with these labels, as for kubectl: `a=b,c!=d`, `key`, `!key`, `key in (a,b)`, `key notin (a)`; all must match
    #[arg(short = 'l', long = "selector", alias = "label", value_name = "SELECTOR", value_parser = LabelSelector::parse)]
    pub(crate) labels: Vec<LabelSelector>,
    #[command(flatten)]
    pub(crate) specs: SpecsOption,
    /// Output format
    #[arg(short = 'o', long = "output", value_enum, value_name = "FORMAT", default_value_t = GetFormat::Table)]
    pub(crate) format: GetFormat,
}

#[derive(Debug, Args)]
pub(crate) struct DescribeArgs {
    /// KIND/NAME …, KIND NAME …, or NAME … if it is unambiguous; NAME may contain `*` and `?`
    #[arg(value_name = "OBJECT", required = true)]
    pub(crate) what: Vec<String>,
    #[command(flatten)]
    pub(crate) specs: SpecsOption,
    /// Output format
    #[arg(short = 'o', long = "output", value_enum, value_name = "FORMAT", default_value_t = DescribeFormat::Text)]
    pub(crate) format: DescribeFormat,
}

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) specs: SpecsOption,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct LogArgs {
    /// Only entries about this object, as KIND/NAME; or NAME, if one object in the journal has it
    #[arg(value_name = "KIND/NAME")]
    pub(crate) what: Vec<String>,
    /// The number of entries, newest last
    #[arg(short = 'n', long = "lines", value_name = "N", default_value_t = 50)]
    pub(crate) lines: usize,
    /// Only entries of the Stack that these manifests declare; default: the whole journal of the store
    #[arg(long = "specs", value_name = "SPECS")]
    pub(crate) specs: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    pub(crate) specs: SpecsOption,
    #[command(flatten)]
    pub(crate) output: Output,
}
