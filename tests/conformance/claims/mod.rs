//! The claims, by what they are about.

mod changes;
mod leaving;
mod making;
mod observation;
mod ours;
mod pool;

use super::Claim;

macro_rules! claims {
    ($($module:ident: $($claim:ident)*;)*) => {
        /// All of them.
        pub(crate) const CLAIMS: &[Claim] = &[$($(
            Claim { name: stringify!($claim), run: |bench| Box::pin($module::$claim(bench)) },
        )*)*];
    };
}

claims! {
    making:
        create_twice_is_unchanged
        create_of_another_identity_is_conflict
        create_of_another_size_is_conflict
        create_of_what_is_in_the_trash_is_conflict
        create_finishes_over_what_a_crash_left
        new_volumes_are_zeroes_of_the_exact_size
        sizes_are_rounded_up_or_refused
        thick_volumes_take_their_space
        snapshot_content_is_frozen
        snapshot_twice_is_unchanged
        snapshot_of_an_open_volume_is_made_or_busy
        clone_has_the_content_of_its_snapshot_and_is_written_apart
        clone_larger_than_its_source_is_grown_and_zero_beyond
        clone_from_volume
        origins_are_checked
        concurrent_creates_of_one_uid_make_one
        eight_side_by_side;
    changes:
        grow_keeps_content_and_adds_zeroes
        grow_while_open
        space_is_reserved_and_shown_and_content_stays
        shrink_is_refused
        snapshots_never_grow
        restore_keeps_size_and_tags
        restore_twice_same_request_is_unchanged
        restore_of_an_open_volume_is_busy
        restore_from_another_volumes_snapshot_is_refused
        a_half_restore_is_completed_never_reported_as_done_and_never_copied
        tags_round_trip
        tags_of_a_snapshot_round_trip
        set_tags_twice_is_unchanged
        settings_are_observed_as_they_were_set
        object_names
        names_have_limits
        adopt_takes_over_what_is_there_as_it_is
        adopt_of_what_is_somebodys_is_conflict
        rename_keeps_content_and_tags
        rename_onto_what_is_there_is_conflict
        detach;
    leaving:
        remove_twice_succeeds
        removing_what_is_not_there_succeeds
        trash_and_undelete_keep_content_and_tags
        a_volume_moves_with_the_snapshots_that_are_named
        undelete_twice_is_unchanged
        undelete_of_what_is_nowhere_is_not_found
        undelete_under_a_taken_name_is_conflict
        trash_of_open_object_is_busy
        destroy_of_open_object_is_busy_or_refused
        what_clones_need_does_not_leave
        snapshots_and_clones_outlive_what_they_do_not_need
        destroy_leaves_nothing
        purge_only_takes_trash
        sweep_only_takes_temporaries
        the_trash_of_a_name_is_told_apart;
    ours:
        expectation_mismatch_is_conflict_and_touches_nothing
        what_fits_the_expectation_is_done
        an_object_made_again_after_it_was_observed_is_left_alone
        a_foreign_object_made_again_after_it_was_observed_is_not_adopted
        foreign_objects_are_never_touched
        objects_of_another_owner_are_never_touched;
    observation:
        observe_of_a_fresh_pool_is_empty_and_changes_nothing
        observe_changes_nothing
        a_volume_is_unwritten_until_a_client_writes
        observe_sees_what_execute_said
        thousand_objects_in_one_listing
        scope_objects_reports_clients_and_proves_absence
        records_show_what_was_made_until_it_is_destroyed
        names_are_answered_for_whether_or_not_a_list_shows_them
        half_made_objects_are_shown_as_such;
    pool:
        found_twice_gives_one_id
        ledger_round_trip_and_second_copy
        ledger_is_changed_by_entries
        changes_of_another_ledger_are_refused
        damaged_ledger_is_reported
        ledgers_of_owners_are_apart
        removed_ledger_is_gone
        lock_excludes_second_writer_and_is_released_on_drop
        locks_are_seen_while_they_are_held
        suspensions_are_recorded_without_the_writer_lock
        a_resume_takes_the_place_of_its_suspension_and_never_the_reverse
        suspensions_of_owners_are_apart
        a_suspension_that_cannot_be_read_is_no_absent_one
        suspensions_in_force_have_a_limit;
}
