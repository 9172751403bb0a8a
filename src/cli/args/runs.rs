//! The options of the commands that take SPECS as their first argument: check, plan, apply, watch.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::options::{Annotations, Output, SPECS, SpecsArgument, is_there};
use crate::model::{Kind, ObjectId};
use crate::report::ObjectSelection;

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub(crate) specs: SpecsArgument,
    /// Write annotations for a pull request to stderr
    #[arg(long, value_enum, value_name = "CI")]
    pub(crate) annotations: Option<Annotations>,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// The output formats of `plan`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PlanFormat {
    /// For people
    Text,
    /// For programs
    Json,
    /// For pull requests: the first line gives the bytes at risk and the steps that disrupt clients
    Markdown,
}

#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    pub(crate) selection: Selection,
    /// Save the plan: `kiln apply FILE` then executes exactly this plan, or refuses
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Also remove objects that a file or stdin does not declare, as for a directory
    #[arg(long)]
    pub(crate) prune: bool,
    /// Exit with 3 if changes are pending
    #[arg(long)]
    pub(crate) detailed_exitcode: bool,
    /// Do not exit with 4 if objects are held
    #[arg(long)]
    pub(crate) allow_held: bool,
    /// Write annotations for a pull request to stderr
    #[arg(long, value_enum, value_name = "CI")]
    pub(crate) annotations: Option<Annotations>,
    /// Output format
    #[arg(short = 'o', long = "output", value_enum, value_name = "FORMAT", default_value_t = PlanFormat::Text)]
    pub(crate) format: PlanFormat,
}

#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    #[command(flatten)]
    pub(crate) selection: Selection,
    /// Do not ask for confirmation of irreversible steps
    #[arg(long, short = 'y')]
    pub(crate) yes: bool,
    /// Ask for confirmation before any step; needs a terminal
    #[arg(long, conflicts_with = "yes")]
    pub(crate) ask: bool,
    /// Also remove objects that a file or stdin does not declare, as for a directory
    #[arg(long)]
    pub(crate) prune: bool,
    /// Approve the set that waits under this digest, exactly as `kiln plan` showed it
    #[arg(long, value_name = "DIGEST")]
    pub(crate) approve: Vec<String>,
    /// Do not exit with 4 if objects are held
    #[arg(long)]
    pub(crate) allow_held: bool,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// SPECS and objects, as `plan` and `apply` take them.
#[derive(Debug, Args)]
pub(crate) struct Selection {
    /// Manifests (a directory, a file, or `-`) or a saved plan, then objects as KIND/NAME … or KIND NAME …: only these and what they
    /// need
    #[arg(value_name = "SPECS|PLAN-FILE|KIND/NAME")]
    what: Vec<PathBuf>,
    /// SPECS, if it is not the first argument
    #[arg(long = "specs", value_name = "SPECS", env = "KILN_SPECS", default_value = SPECS)]
    specs: PathBuf,
}

impl Selection {
    /// Returns SPECS, if it is the first argument. The first argument is an object only if it begins with a kind, as in `volume/db` or
    /// `volume db`, and no file or directory has that name.
    pub(super) fn first_argument(&self) -> Option<&PathBuf> {
        let is_object = |first: &PathBuf| {
            let kind = first.to_str().and_then(|first| match first.split_once('/') {
                Some((kind, _)) => Some(kind),
                None => Some(first).filter(|_| self.what.len() > 1),
            });
            kind.and_then(Kind::parse_loosely).is_some() && !first.exists()
        };
        self.what.first().filter(|first| !is_object(first))
    }

    /// Returns SPECS or the saved plan.
    pub(crate) fn path(&self) -> &PathBuf {
        self.first_argument().unwrap_or(&self.specs)
    }

    /// Returns SPECS if they are not the first argument.
    pub(crate) fn option(&self) -> &PathBuf {
        &self.specs
    }

    /// Returns the first argument, if it is taken as SPECS and does not exist.
    pub(crate) fn missing(&self) -> Option<&str> {
        self.first_argument().filter(|first| !is_there(first))?.to_str()
    }

    /// Returns the arguments that name objects.
    pub(crate) fn objects(&self) -> Vec<&str> {
        let words = self.what.iter().skip(usize::from(self.first_argument().is_some()));
        words.map(|word| word.to_str().unwrap_or_default()).collect()
    }

    /// Splits the arguments into SPECS and the selected objects.
    ///
    /// # Errors
    /// One sentence about an argument that is neither.
    pub(crate) fn split(&self) -> Result<(PathBuf, BTreeSet<ObjectId>), String> {
        let words = self.objects();
        let named = ObjectSelection::parse(words.iter().copied())?.ids();
        let objects = named.ok_or_else(|| format!("{:?} does not name an object in full", words.join(" ")))?;
        let without = objects.iter().find(|object| match object.kind {
            Kind::Volume | Kind::Snapshot | Kind::Export => false,
            Kind::Stack | Kind::Backend | Kind::Target | Kind::Approval => true,
        });
        match without {
            Some(object) => {
                Err(format!("a {} has no steps: name volumes, snapshots or exports", object.kind.as_lower()))
            }
            None => Ok((self.path().clone(), objects.into_iter().collect())),
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    #[command(flatten)]
    pub(crate) specs: SpecsArgument,
    /// Serve /metrics, /healthz and /readyz at this TCP address: 127.0.0.1:9641; port 0 takes a free port. A non-loopback address
    /// needs TLS and a token
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = parse_address)]
    pub(crate) listen: Option<SocketAddr>,
    /// Certificate chain for --listen, as PEM
    #[arg(long, value_name = "FILE", requires = "listen")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// Key of the certificate, as PEM; only its owner may read the file
    #[arg(long, value_name = "FILE", requires = "listen")]
    pub(crate) tls_key: Option<PathBuf>,
    /// File with the token that clients must send (Authorization: Bearer …); only its owner may read the file
    #[arg(long, value_name = "FILE", requires = "listen")]
    pub(crate) token_file: Option<PathBuf>,
}

fn parse_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "not an IP address with a port, such as 127.0.0.1:9641 or [::1]:9641".to_owned())
}
