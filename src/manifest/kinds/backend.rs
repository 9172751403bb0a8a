//! `kind: Backend`.

use std::num::NonZeroU32;

use super::head::path;
use super::{BackendBody, Pool, PoolPlace};
use crate::manifest::fields::{At, Fields};
use crate::manifest::text::quote;
use crate::model::{BackendSpec, DriverConfig, FaultRates, Meta, Percent, Seconds};

pub(super) fn read(mut fields: Fields<'_>, meta: Option<Meta>) -> Option<BackendBody> {
    let driver_at = fields.need("driver", "write `driver: local`, or another driver");
    let driver = driver_at.and_then(driver_name);
    let concurrency = fields.get("concurrency").and_then(|at| at.whole(1, 1024));
    let timeout = fields.get("timeout").and_then(|at| at.duration(1));
    let max_fill = fields.get("maxFill").and_then(|at| at.percent(1, 100));
    let overcommit = fields.get("overcommit").and_then(|at| at.factor());
    let via = fields.get("via").and_then(via);
    let sections = ["local", "sim", "rbd"].map(|name| (name, fields.get(name)));
    for (name, at) in sections.iter().filter_map(|(name, at)| Some((name, (*at)?))) {
        if driver.is_some_and(|driver| driver != *name) {
            at.wrong(
                format_args!("is not the section of the driver {}", driver.unwrap_or_default()),
                "remove it, or change `driver`",
            );
        }
    }
    let section = |wanted: &str| sections.iter().find(|(name, _)| *name == wanted).and_then(|(_, at)| *at);
    let configured = driver.and_then(|driver| match driver {
        "local" => local(section("local"), &fields),
        "sim" => sim(section("sim")),
        "rbd" => rbd(section("rbd")),
        other => {
            // Its fields are the driver's own matter; that there is a map is ours.
            fields.peek(other).map(|at| at.entries());
            Some((DriverConfig::Unbuilt { driver: other.to_owned() }, None))
        }
    });
    fields.finish_except(driver.unwrap_or_default());
    let usual_overcommit = match driver {
        Some("sim") => None,
        Some("rbd") => Some(Percent(500)),
        _ => Some(Percent(100)),
    };
    let (config, pool) = configured?;
    let spec = BackendSpec {
        meta: meta?,
        config,
        concurrency: NonZeroU32::new(concurrency.unwrap_or(8).try_into().ok()?)?,
        timeout: timeout.unwrap_or(Seconds(30)),
        max_fill: max_fill.unwrap_or(Percent(90)),
        overcommit: overcommit.or(usual_overcommit),
        via: via.unwrap_or_default(),
    };
    Some(BackendBody { spec, driver_span: driver_at?.span(), pool })
}

/// The name of a driver: of a Backend or of a Target.
pub(super) fn driver_name(at: At<'_>) -> Option<&str> {
    let text = at.text()?;
    let fits = text.len() <= 32
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '-'));
    if !fits {
        at.wrong(
            format_args!("is {}, which is not the name of a driver", quote(text)),
            "for example local, sim or rbd",
        );
    }
    fits.then_some(text)
}

fn via(at: At<'_>) -> Option<Vec<String>> {
    at.each(1, 64, |word| word.line(4096).map(str::to_owned))
}

type Configured = Option<(DriverConfig, Option<Pool>)>;

fn local(section: Option<At<'_>>, spec: &Fields<'_>) -> Configured {
    let Some(at) = section else {
        let hint = "write `local: {path: ../pool}`, relative to this file";
        spec.at().missing("local", hint);
        return None;
    };
    let mut fields = at.fields()?;
    let path_at = fields.need("path", "write the directory of the pool, relative to this file");
    let path = path_at.and_then(path);
    let create = fields.get("create").and_then(|at| at.flag());
    fields.finish();
    let path = path?;
    let pool = Pool { span: path_at?.span(), place: PoolPlace::Path(path.clone()) };
    Some((DriverConfig::Local { path, create: create.unwrap_or(false) }, Some(pool)))
}

fn sim(section: Option<At<'_>>) -> Configured {
    let Some(at) = section else {
        return Some((DriverConfig::Sim { path: None, seed: 0, capacity: None, faults: FaultRates::NONE }, None));
    };
    let mut fields = at.fields()?;
    let path_at = fields.get("path");
    let path = path_at.and_then(path);
    let seed = fields.get("seed").and_then(|at| at.whole(0, u64::MAX)).unwrap_or(0);
    let capacity = fields.get("capacity").and_then(|at| at.size(1));
    let faults = fields.get("faults").and_then(faults).unwrap_or(FaultRates::NONE);
    fields.finish();
    let pool = path_at.zip(path.clone()).map(|(at, path)| Pool { span: at.span(), place: PoolPlace::Path(path) });
    Some((DriverConfig::Sim { path, seed, capacity, faults }, pool))
}

fn faults(at: At<'_>) -> Option<FaultRates> {
    let mut fields = at.fields()?;
    let mut rate = |name| fields.get(name).and_then(|at| at.percent(0, 100)).unwrap_or(Percent(0));
    let rates = FaultRates {
        error: rate("error"),
        lost_reply: rate("lostReply"),
        half: rate("half"),
        stale: rate("stale"),
        cut: rate("cut"),
        slow: rate("slow"),
        hang: rate("hang"),
        lie: rate("lie"),
    };
    fields.finish();
    Some(rates)
}

/// Checked, though the driver is a program of its own: a mistake is found here and not when that program starts.
fn rbd(section: Option<At<'_>>) -> Configured {
    let unbuilt = DriverConfig::Unbuilt { driver: "rbd".to_owned() };
    let Some(at) = section else { return Some((unbuilt, None)) };
    let mut fields = at.fields()?;
    let pool = fields.need("pool", "write the name of the RADOS pool");
    let pool_name = pool.and_then(|at| at.line(128));
    let namespace = fields.get("namespace").and_then(|at| at.line(128)).unwrap_or_default();
    for name in ["dataPool", "user"] {
        fields.get(name).map(|at| at.line(128));
    }
    let conf = fields.get("conf").and_then(path).map(|path| path.display().to_string());
    fields.get("keyring").map(path);
    // librbd: order 12 to 25.
    fields.get("objectSize").map(|at| {
        let size = at.size(4096)?;
        let fits = size.0.is_power_of_two() && size.0 <= 32 << 20;
        if !fits {
            at.wrong(format_args!("is {size}, and must be a power of two up to 32Mi"), "the default is 4Mi");
        }
        fits.then_some(size)
    });
    let words =
        ["layering", "exclusive-lock", "object-map", "fast-diff", "deep-flatten", "journaling"].map(|w| (w, ()));
    fields.get("features").map(|at| at.each(1, 16, |item| item.choice(&words)));
    fields.finish();
    let place = ["rbd", &conf.unwrap_or_default(), pool_name?, namespace].map(str::to_owned);
    Some((unbuilt, Some(Pool { span: pool?.span(), place: PoolPlace::Other(place.into()) })))
}
