//! The digest of a plan: equal for plans that do the same to the same objects.

use super::types::Plan;

/// Returns the digest of the owner, the steps with all they expect, and what is held; not of the revision, messages or times.
pub(super) fn digest(plan: &Plan) -> String {
    let mut hash = blake3::Hasher::new();
    let mut add = |value: serde_json::Result<String>| {
        // Serialization cannot fail: strings, numbers, and maps with string keys.
        hash.update(value.unwrap_or_default().as_bytes());
        hash.update(b"\n");
    };
    add(serde_json::to_string(&plan.owner));
    for step in &plan.steps {
        add(serde_json::to_string(step));
    }
    for held in &plan.held {
        add(serde_json::to_string(&(held.kind, &held.name, held.action, &held.endpoint, held.uid, held.reason)));
    }
    hash.finalize().to_hex().as_str()[..32].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        Action, Endpoint, Expect, Identity, Kind, NativeName, Place, Reason, Size, Step, Tags, Uid, Verb,
    };
    use crate::plan::types::{Held, HeldReason, Warning};

    type Change = fn(&mut Plan);

    fn plan() -> Plan {
        let (owner, backend, name) = ("prod".parse().unwrap(), "fast".parse().unwrap(), "db".parse().unwrap());
        let uid = Uid::derive("5c1d2e8a90", &owner, Kind::Volume, &backend, &name, 0);
        let held = Held {
            kind: Kind::Volume,
            name: "web".parse().unwrap(),
            action: Verb::Update,
            endpoint: Some(Endpoint::Backend(backend.clone())),
            uid: Some(uid),
            reason: HeldReason::InUse,
            message: "a client has it open".to_owned(),
            fix: "close it".to_owned(),
        };
        let identity = Identity { owner: owner.clone(), kind: Kind::Volume, name, uid };
        let step = Step {
            native: NativeName::new("kiln.prod.db.x"),
            expect: Expect {
                place: Some(Place::Live),
                size: Some(Size(4096)),
                tags: Some(Tags::default()),
                ..Expect::default()
            },
            ..Step::new(backend, identity, Action::Grow { to: Size(8192) }, Reason::Grown)
        };
        Plan { held: vec![held], ..Plan::of(owner, "abc".to_owned(), vec![step]) }
    }

    #[test]
    fn a_digest_covers_the_owner_the_steps_with_what_they_expect_and_what_is_held() {
        let known = digest(&plan());
        let changes: [(&str, Change); 13] = [
            ("owner", |plan| plan.owner = "next".parse().unwrap()),
            ("action", |plan| plan.steps[0].action = Action::Grow { to: Size(16_384) }),
            ("expected place", |plan| plan.steps[0].expect.place = Some(Place::Trash)),
            ("expected size", |plan| plan.steps[0].expect.size = Some(Size(8192))),
            ("expected tags", |plan| plan.steps[0].expect.tags.as_mut().unwrap().protected = true),
            ("expected to be unwritten", |plan| plan.steps[0].expect.unwritten = true),
            ("expected clients", |plan| plan.steps[0].expect.idle = true),
            ("no step", |plan| plan.steps.clear()),
            ("nothing held", |plan| plan.held.clear()),
            ("held for another reason", |plan| plan.held[0].reason = HeldReason::Lost),
            ("another object held", |plan| plan.held[0].name = "cache".parse().unwrap()),
            ("another action held", |plan| plan.held[0].action = Verb::Remove),
            ("another incarnation held", |plan| plan.held[0].uid = None),
        ];
        for (what, change) in changes {
            let mut other = plan();
            change(&mut other);
            assert_ne!(digest(&other), known, "{what}");
        }
    }

    #[test]
    fn a_digest_does_not_depend_on_the_revision_or_on_words() {
        let mut other = plan();
        other.revision = "def".to_owned();
        (other.held[0].message, other.held[0].fix) = ("other words".to_owned(), "other fix".to_owned());
        other.warnings.push(Warning { code: "Code".to_owned(), message: "words".to_owned() });
        assert_eq!(digest(&other), digest(&plan()));
    }
}
