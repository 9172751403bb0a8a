//! Tests of the folding of facts.

use super::*;

#[derive(Debug, PartialEq, Eq)]
struct Told {
    object: &'static str,
    message: String,
    fix: String,
    awaits: bool,
}

impl TellsFact for Told {
    fn fact(&self) -> Fact<'_> {
        let uid = Some("7np53nfs").filter(|_| self.object.ends_with("db"));
        let fact = Fact::new(self.object, "Lost", &self.message, &self.fix);
        Fact { uid, awaits_approval: self.awaits, ..fact }
    }
}

fn told(object: &'static str, message: &str, fix: &str) -> Told {
    Told { object, message: message.to_owned(), fix: fix.to_owned(), awaits: false }
}

fn shown(facts: &[Told]) -> Vec<String> {
    let lines = fold(facts).into_iter().flat_map(|group| {
        let causes = group.causes.iter().map(|cause| format!("  {}: {}", cause.message, group.names(cause)));
        [format!("{}, {}", group.subject(), group.fix)].into_iter().chain(causes.collect::<Vec<_>>())
    });
    lines.collect()
}

#[test]
fn what_shares_reason_and_fix_is_one_entry() {
    let facts = [
        told("volume/db", "the pool is away", "repair it"),
        told("volume/web", "the pool is full", "purge it"),
        told("snapshot/db", "the pool is away", "repair it"),
        told("volume/old", "the pool is locked", "repair it"),
    ];
    assert_eq!(
        shown(&facts),
        [
            "3 objects, repair it",
            "  the pool is away: volume/db, snapshot/db",
            "  the pool is locked: volume/old",
            "volume/web, purge it",
            "  the pool is full: volume/web",
        ]
    );
}

#[test]
fn texts_that_differ_by_the_own_name_only_are_shared() {
    let facts = [
        told("volume/db", "kiln.prod.db.7np53nfs is missing", "`kiln forget volume/db`"),
        told("snapshot/db", "kiln.prod.db.7np53nfs is missing", "`kiln forget snapshot/db`"),
        told("volume/web-1", "prod.web-1 is missing", "`kiln forget volume/web-1`"),
        told("volume/web-2", "prod.web-2 is missing", "`kiln forget volume/web-2`"),
    ];
    assert_eq!(
        shown(&facts),
        [
            "3 volumes, `kiln forget volume/db volume/web-1 volume/web-2`",
            "  <object> is missing: volume/db (<object> kiln.prod.db.7np53nfs), volume/web-1 (<object> prod.web-1), \
             volume/web-2 (<object> prod.web-2)",
            "snapshot/db, `kiln forget snapshot/db`",
            "  kiln.prod.db.7np53nfs is missing: snapshot/db",
        ]
    );
    let facts = [
        told("volume/a", "it shrinks", "write `size: 1Gi` (specs/a.yaml:1:1), or copy it"),
        told("volume/b", "it shrinks", "write `size: 1Gi` (specs/b.yaml:9:1), or copy it"),
    ];
    assert_eq!(
        shown(&facts),
        [
            "2 volumes, write `size: 1Gi`, or copy it",
            "  it shrinks: volume/a (specs/a.yaml:1:1), volume/b (specs/b.yaml:9:1)"
        ]
    );
    // A fix that names one of the objects that share it.
    let facts = [told("volume/old", "it goes", "rename old"), told("volume/new", "it comes", "rename old")];
    assert_eq!(shown(&facts), ["2 volumes, rename old", "  it goes: volume/old", "  it comes: volume/new"]);
    // A name inside another word is no name, and a text that is the same for all stays as it is.
    let facts =
        [told("volume/a", "a volume waits", "see volume/ab"), told("snapshot/a", "a volume waits", "see volume/ab")];
    assert_eq!(shown(&facts), ["2 objects, see volume/ab", "  a volume waits: volume/a, snapshot/a"]);
}

#[test]
fn texts_that_differ_by_values_are_shared_and_each_member_has_its_own() {
    let missing = |object, of: &str| {
        let fix = format!("declare snapshot {of}, or remove `source` (specs/{of}.yaml:1:8) to create an empty volume");
        told(object, &format!("its source snapshot {of} does not exist"), &fix)
    };
    assert_eq!(
        shown(&[missing("volume/a", "gone"), missing("volume/b", "lost-2")]),
        [
            "2 volumes, declare snapshot <snapshot>, or remove `source` to create an empty volume",
            "  its source snapshot <snapshot> does not exist: volume/a (<snapshot> gone, specs/gone.yaml:1:8), \
             volume/b (<snapshot> lost-2, specs/lost-2.yaml:1:8)",
        ]
    );
    let shrinks = |object, is: &str, says: &str| {
        told(object, &format!("its size is {is} and the document says {says}"), &format!("write `size: {is}`"))
    };
    assert_eq!(
        shown(&[
            shrinks("volume/a", "2Gi", "1Gi"),
            shrinks("volume/b", "3Gi", "1Gi"),
            shrinks("volume/c", "3Gi", "512Mi")
        ]),
        [
            "3 volumes, write `size: <size>`",
            "  its size is <size> and the document says <size2>: volume/a (`size: 2Gi`, <size2> 1Gi), \
             volume/b (`size: 3Gi`, <size2> 1Gi), volume/c (`size: 3Gi`, <size2> 512Mi)",
        ]
    );
    // Both objects of a likely rename have the same texts, which name both.
    let renamed = |object, old: &str, new: &str| {
        let fix = format!("if {old} was renamed, write `renamedFrom: {old}` under `metadata` of volume {new}");
        told(object, &format!("volume {old} goes, and volume {new} comes"), &fix)
    };
    let facts = [
        renamed("volume/o1", "o1", "n1"),
        renamed("volume/n2", "o2", "n2"),
        renamed("volume/n1", "o1", "n1"),
        renamed("volume/o2", "o2", "n2"),
    ];
    assert_eq!(
        shown(&facts),
        [
            "4 volumes, if <old> was renamed, write `renamedFrom: <old>` under `metadata` of volume <new>",
            "  volume <old> goes, and volume <new> comes: volume/o1, volume/n1 (`renamedFrom: o1`), \
             volume/n2, volume/o2 (`renamedFrom: o2`)",
        ]
    );
    // The fix of one of a pair is to decide about the other: that fix is told, and only beside it.
    let old = |object, fix: &str| told(object, "volume o goes, and volume n comes", fix);
    let decision = "write `renamedFrom: o`, or wait for o: `kiln plan specs volume/o --state s`";
    let pair = [old("volume/n", decision), old("volume/o", "write `renamedFrom: o`, or `kiln approve d`")];
    let together = "  volume o goes, and volume n comes: volume/n, volume/o";
    assert_eq!(shown(&pair), ["2 volumes, write `renamedFrom: o`, or `kiln approve d`", together]);
    assert!(shown(&pair[..1])[0].ends_with(decision));
    let others = [old("volume/n", decision), told("volume/o", "it is another message", "`kiln approve d`")];
    assert_eq!(fold(&others).len(), 2);
    // Numbers.
    let facts =
        [told("volume/a", "it is open (pid 12)", "close it"), told("volume/b", "it is open (pid 7)", "close it")];
    assert_eq!(
        shown(&facts),
        ["2 volumes, close it", "  it is open (pid <pid>): volume/a (<pid> 12), volume/b (<pid> 7)"]
    );
    // What to write is not the same, although the words around it are.
    let facts = [told("volume/a", "m", "remove `via`"), told("volume/b", "m", "remove `qos`")];
    assert_eq!(shown(&facts).len(), 4);
}

#[test]
fn what_is_pasted_has_no_placeholder() {
    // A command that takes several operands is one for all, also for those that are not named.
    let pools: Vec<Told> = (10..22)
        .map(|n| {
            told(
                "backend/a",
                &format!("/pools/p{n}/x needs /pools/p{n}, which does not exist"),
                &format!("mount it, or `mkdir -p /pools/p{n}`"),
            )
        })
        .collect();
    let [pool] = <[_; 1]>::try_from(fold(&pools)).unwrap();
    let all: Vec<String> = (10..22).map(|n| format!("/pools/p{n}")).collect();
    assert_eq!(pool.fix, format!("mount it, or `mkdir -p {}`", all.join(" ")));
    assert_eq!(pool.causes[0].message, "<path>/x needs <path>, which does not exist");
    // The others, and settings, stand beside their object, with their place.
    let smaller = |object, size: &str, place: &str| {
        told(object, "it is small", &format!("write `size: {size}` ({place}), or `kiln trash purge {object}`"))
    };
    let facts = [smaller("volume/a", "1Gi", "specs/a.yaml:3:9"), smaller("volume/b", "2Gi", "specs/b.yaml:4:9")];
    assert_eq!(
        shown(&facts),
        [
            "2 volumes, write `size: <size>`, or `kiln trash purge volume/<name>`",
            "  it is small: volume/a (`size: 1Gi` specs/a.yaml:3:9, `kiln trash purge volume/a`), \
             volume/b (`size: 2Gi` specs/b.yaml:4:9, `kiln trash purge volume/b`)",
        ]
    );
    for fact in &facts {
        let told = shown(&facts).join("\n");
        assert!(codes(&fact.fix).iter().all(|code| told.contains(&format!("`{}`", code.text))), "{told}");
    }
}

#[test]
fn objects_that_are_called_like_words_are_folded() {
    let lost = |object: &'static str| {
        let name = object.split_once('/').unwrap().1;
        let message = format!("kiln.prod.{name}.8x is missing from fast; Kiln does not recreate it as an empty one");
        told(object, &message, &format!("restore the data on it; or accept the loss with `kiln forget {object}`"))
    };
    let objects = ["volume/data", "volume/it", "volume/the", "volume/is", "volume/kiln", "volume/fast", "volume/web"];
    let facts = objects.map(lost);
    let told = shown(&facts);
    assert_eq!(told.len(), 2, "{told:#?}");
    let all = objects.join(" ");
    assert_eq!(told[0], format!("7 volumes, restore the data on it; or accept the loss with `kiln forget {all}`"));
    let message = "  kiln.prod.<name>.8x is missing from fast; Kiln does not recreate it as an empty one: ";
    assert!(told[1].starts_with(message) && told[1].contains("volume/data, volume/it, "), "{told:#?}");
}

#[test]
fn losses_on_several_backends_and_counts_of_one_are_one_entry() {
    let lost = |object: &'static str, backend: &str| {
        let message = format!("{object} is missing from backend {backend}; Kiln does not recreate it");
        told(object, &message, &format!("accept the loss with `kiln forget {object}`"))
    };
    let told_once = shown(&[lost("volume/a", "fast"), lost("volume/b", "slow")]);
    let cause = "  volume/<name> is missing from backend <backend>; Kiln does not recreate it: ";
    assert!(told_once.len() == 2 && told_once[1].starts_with(cause), "{told_once:#?}");
    assert!(told_once[1].contains("fast") && told_once[1].contains("slow"), "{told_once:#?}");
    let counts = [told("volume/a", "it has 1 snapshot", "wait"), told("volume/b", "it has 2 snapshots", "wait")];
    let told_once = shown(&counts);
    assert!(told_once.len() == 2 && told_once[1].contains("it has <number of snapshots>: "), "{told_once:#?}");
    assert!(told_once[1].contains("1 snapshot") && told_once[1].contains("2 snapshots"), "{told_once:#?}");
    let one = [told("volume/a", "it has 1 snapshot", "wait"), told("volume/b", "it has 1 snapshot", "wait")];
    assert_eq!(shown(&one)[1], "  it has 1 snapshot: volume/a, volume/b");
}

#[test]
fn native_names_are_whole_and_one_or_several_are_one_entry() {
    let left = |object, snapshots: &str| told(object, &format!("snapshots of it remain: {snapshots}"), "remove them");
    let facts = [
        left("volume/x1", "kiln-snap.prod.x1-mon.hpsslva3"),
        left("volume/x2", "kiln-snap.prod.x2-mon.nnc3ptzq, kiln-snap.prod.x2-tue.bo3uacl7"),
        left("volume/x3", "kiln.prod.x3.k3m9x2ab@kiln-snap.prod.m.dnxaktfd"),
    ];
    assert_eq!(
        shown(&facts),
        [
            "3 volumes, remove them",
            "  snapshots of it remain: <object>: volume/x1 (<object> kiln-snap.prod.x1-mon.hpsslva3), volume/x2 (<object> \
             kiln-snap.prod.x2-mon.nnc3ptzq, kiln-snap.prod.x2-tue.bo3uacl7), volume/x3 (<object> \
             kiln.prod.x3.k3m9x2ab@kiln-snap.prod.m.dnxaktfd)",
        ]
    );
    // Names that are not those of Kiln, too.
    let facts = ["volume/x1", "volume/x2"].map(|object| {
        let native = if object == "volume/x1" { "old.x2@x1" } else { "x1.img" };
        told(object, &format!("{native} is foreign"), "rename it")
    });
    let rows = "  <object> is foreign: volume/x1 (<object> old.x2@x1), volume/x2 (<object> x1.img)";
    assert_eq!(shown(&facts), ["2 volumes, rename it", rows]);
    let open = |object, clients: &str| told(object, &format!("it is open by {clients}: Kiln waits"), "close it");
    let facts = [open("volume/a", "qemu (pid 12)"), open("volume/b", "qemu (pid 7), nbd (pid 9)")];
    let rows = "  it is open by <clients>: Kiln waits: volume/a (<clients> qemu (pid 12)), volume/b (<clients> qemu (pid 7), nbd (pid 9))";
    assert_eq!(shown(&facts), ["2 volumes, close it", rows]);
}

#[derive(Debug)]
struct OnBackend(Told, &'static str, Verb);

impl TellsFact for OnBackend {
    fn fact(&self) -> Fact<'_> {
        let verb = Some(ToldVerb { verb: self.2, word: self.2.as_str() });
        Fact { backend: Some(self.1), verb, ..self.0.fact() }
    }
}

#[test]
fn holds_on_several_backends_and_for_several_verbs_tell_their_message_once() {
    let held = |object, backend, verb| {
        OnBackend(told(object, &format!("the listing of {backend} is incomplete"), "wait"), backend, verb)
    };
    let lines = |facts: &[OnBackend]| {
        let [folded] = <[_; 1]>::try_from(fold(facts)).unwrap();
        let (lines, rest) = folded.lines(true);
        assert_eq!(rest, 0);
        let messages = folded.causes.iter().map(|cause| cause.message.to_string()).collect::<Vec<_>>();
        let line =
            |line: MemberLine| format!("{} {}", line.verb.map(|verb| verb.to_string()).unwrap_or_default(), line.text);
        (messages, lines.into_iter().map(line).collect::<Vec<_>>())
    };
    let all = [
        held("volume/a", "fast", Verb::Remove),
        held("volume/b", "lab", Verb::Destroy),
        held("volume/c", "lab", Verb::Destroy),
    ];
    let rows = ["remove volume/a (<backend> fast)", "destroy volume/b, volume/c (<backend> lab)"];
    assert_eq!(
        lines(&all),
        (vec!["the listing of <backend> is incomplete".to_owned()], rows.map(str::to_owned).into())
    );
    // Another message beside it: each is one line.
    let other = OnBackend(told("volume/d", "it is locked", "wait"), "lab", Verb::Remove);
    let [a, b, c] = all;
    let told = lines(&[a, b, c, other]).1;
    assert_eq!(
        told,
        [
            " remove volume/a (<backend> fast); destroy volume/b, volume/c (<backend> lab): the listing of <backend> is incomplete",
            "remove volume/d: it is locked",
        ]
    );
}

#[test]
fn one_object_with_two_facts_is_one() {
    let facts = [told("store", "a note", "open it"), told("store", "another note", "open it")];
    assert_eq!(shown(&facts), ["store, open it", "  a note: store", "  another note: store"]);
}

#[test]
fn a_place_of_a_problem_is_no_object_of_a_kind() {
    let facts = [
        told("./specs/a.yaml:4:16", "no", "did you mean `volume: db`?"),
        told("./specs/b.yaml:4:16", "no", "did you mean `volume: web`?"),
    ];
    assert_eq!(
        shown(&facts),
        [
            "2 places, did you mean `volume: <volume>`?",
            "  no: ./specs/a.yaml:4:16 (`volume: db`), ./specs/b.yaml:4:16 (`volume: web`)",
        ]
    );
}

#[test]
fn many_facts_are_folded_without_comparing_each_with_each() {
    // If each fact were compared with each other one, this would take minutes.
    let facts: Vec<Told> =
        (0..50_000).map(|n| told("volume/a", "m", &format!("declare volume v{n}, or remove `source`"))).collect();
    let folded = fold(&facts);
    assert_eq!((folded.len(), folded[0].members().count()), (1, 50_000));
    let facts: Vec<Told> = (0..50_000).map(|n| told("volume/a", "m", &format!("call the {n}th"))).collect();
    assert_eq!(fold(&facts).len(), 50_000);
    let facts: Vec<Told> = (0..50_000).map(|n| told("volume/a", "m", &format!("`mkdir -p a{n}`"))).collect();
    let folded = fold(&facts);
    assert_eq!((folded.len(), folded[0].lines(true).1), (1, 49_990));
}

#[test]
fn ten_objects_are_named_and_all_that_an_approval_covers() {
    let names_of = [
        "volume/a", "volume/b", "volume/c", "volume/d", "volume/e", "volume/f", "volume/g", "volume/h", "volume/i",
        "volume/j", "volume/k", "volume/l",
    ];
    let mut facts = names_of.map(|object| told(object, "m", "f"));
    let of = |facts: &[Told]| shown(facts)[1].clone();
    assert!(of(&facts).ends_with("volume/i, volume/j and 2 more"), "{}", of(&facts));
    facts[3].awaits = true;
    assert!(of(&facts).ends_with("volume/k, volume/l"), "{}", of(&facts));
}

#[test]
fn each_object_has_the_places_that_the_shared_text_leaves_out() {
    let lines = |facts: &[Told]| {
        let [folded] = <[_; 1]>::try_from(fold(facts)).unwrap();
        let (lines, rest) = folded.lines(false);
        (lines.into_iter().map(|line| line.text).collect::<Vec<_>>(), rest)
    };
    let names_of = [
        "volume/a", "volume/b", "volume/c", "volume/d", "volume/e", "volume/f", "volume/g", "volume/h", "volume/i",
        "volume/j", "volume/k", "volume/l",
    ];
    let mut row = 0;
    let mut facts = names_of.map(|object| {
        row += 10;
        told(object, "it shrinks", &format!("write `size: 1Gi` (specs/a.yaml:{row}:8), or copy it"))
    });
    let (named, rest) = lines(&facts);
    assert_eq!((named.len(), rest), (10, 2));
    assert_eq!([&*named[0], &*named[9]], ["volume/a (specs/a.yaml:10:8)", "volume/j (specs/a.yaml:100:8)"]);
    facts[3].awaits = true;
    assert_eq!((lines(&facts).0.len(), lines(&facts).1), (12, 0));
    // Messages of their own, with one place in both texts, and a place that is shared.
    let facts = [
        told("volume/a", "it is small (specs/a.yaml:1:8)", "write `size: 1Gi` (specs/a.yaml:1:8) in prod (s.yaml:1:1)"),
        told("volume/b", "it is large", "write `size: 1Gi` (specs/a.yaml:5:8) in prod (s.yaml:1:1)"),
    ];
    let told_of = ["volume/a (specs/a.yaml:1:8, s.yaml:1:1)", "volume/b (specs/a.yaml:5:8, s.yaml:1:1)"];
    assert_eq!(
        lines(&facts).0,
        [format!("{}: it is small (specs/a.yaml:1:8)", told_of[0]), format!("{}: it is large", told_of[1]),]
    );
    // What all texts contain stays there.
    let same = "write `size: 1Gi` (specs/a.yaml:1:8)";
    assert_eq!(lines(&[told("volume/a", "m", same), told("volume/b", "m", same)]).0, ["volume/a, volume/b"]);
}
