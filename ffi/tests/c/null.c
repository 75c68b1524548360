/* Every accessor and every _free function accepts NULL. */
#include "test.h"

/* What is a text with a handle is an empty one without. */
#define EMPTY(text) CHECK((text) != NULL && *(text) == 0)

int main(void)
{
    ctrd_time_t time = {7, 7, 7};
    uint32_t code = 7;

    ctrd_error_free(NULL);
    ctrd_cancel_free(NULL);
    ctrd_client_free(NULL);
    ctrd_version_info_free(NULL);
    ctrd_message_free(NULL);
    ctrd_image_info_free(NULL);
    ctrd_image_info_list_free(NULL);
    ctrd_snapshot_info_free(NULL);
    ctrd_string_free(NULL);
    ctrd_daemon_free(NULL);
    ctrd_queue_free(NULL);
    ctrd_recovery_free(NULL);
    ctrd_recovery_list_free(NULL);
    ctrd_exec_info_free(NULL);
    ctrd_pid_list_free(NULL);
    ctrd_container_info_free(NULL);
    ctrd_container_info_list_free(NULL);
    ctrd_stats_free(NULL);
    ctrd_stats_list_free(NULL);
    ctrd_progress_callback_free(NULL);
    ctrd_cancel_fire(NULL);

    ctrd_call_init(NULL, sizeof(ctrd_call_t));
    ctrd_client_config_init(NULL, sizeof(ctrd_client_config_t));
    ctrd_counters_init(NULL, sizeof(ctrd_counters_t));
    ctrd_io_init(NULL, sizeof(ctrd_io_t));
    ctrd_container_config_init(NULL, sizeof(ctrd_container_config_t));
    ctrd_probe_config_init(NULL, sizeof(ctrd_probe_config_t));
    ctrd_destroy_config_init(NULL, sizeof(ctrd_destroy_config_t));
    ctrd_pull_config_init(NULL, sizeof(ctrd_pull_config_t));
    ctrd_daemon_config_init(NULL, sizeof(ctrd_daemon_config_t));

    CHECK(ctrd_error_status(NULL) == CTRD_OK);
    EMPTY(ctrd_error_text(NULL));
    EMPTY(ctrd_error_message(NULL));
    EMPTY(ctrd_error_operation(NULL));
    EMPTY(ctrd_error_subject(NULL));
    EMPTY(ctrd_error_step(NULL));
    CHECK(ctrd_error_cause(NULL) == NULL);
    CHECK(ctrd_error_grpc_code(NULL) == 0 && ctrd_error_errno(NULL) == 0);
    CHECK(ctrd_error_flags(NULL) == 0 && ctrd_error_reason(NULL) == 0);

    CHECK(ctrd_has_feature(NULL) == 0);
    EMPTY(ctrd_version_info_version(NULL));
    EMPTY(ctrd_version_info_revision(NULL));

    CHECK(ctrd_message_kind(NULL) == 0 && ctrd_message_origin(NULL) == 0);
    CHECK(ctrd_message_exec_id(NULL) == NULL);
    CHECK(ctrd_message_exit_code(NULL, &code) == 0 && code == 7);
    CHECK(ctrd_message_exit_time(NULL, &time) == 0 && time.seconds == 7);
    CHECK(ctrd_message_error(NULL) == NULL && ctrd_message_start_error(NULL) == NULL);
    CHECK(ctrd_message_ref(NULL) == NULL);
    CHECK(ctrd_message_generation(NULL) == 0);
    CHECK(ctrd_message_output_lost(NULL, NULL, NULL) == 0);
    CHECK(ctrd_message_seq(NULL) == 0 && ctrd_message_dropped(NULL) == 0);
    EMPTY(ctrd_message_namespace(NULL));
    EMPTY(ctrd_message_container_id(NULL));
    EMPTY(ctrd_message_topic(NULL));
    EMPTY(ctrd_message_json(NULL));
    CHECK(ctrd_message_progress(NULL) == NULL);
    CHECK(ctrd_message_event_time(NULL, &time) == 0 && time.seconds == 7);

    EMPTY(ctrd_exec_info_id(NULL));
    CHECK(ctrd_exec_info_pid(NULL) == 0);
    CHECK(ctrd_pid_list_len(NULL) == 0 && ctrd_pid_list_get(NULL, 0) == 0);
    EMPTY(ctrd_container_info_id(NULL));
    EMPTY(ctrd_container_info_image(NULL));
    EMPTY(ctrd_container_info_runtime(NULL));
    EMPTY(ctrd_container_info_snapshotter(NULL));
    EMPTY(ctrd_container_info_snapshot_key(NULL));
    EMPTY(ctrd_container_info_owner(NULL));
    CHECK(ctrd_container_info_cleanup(NULL) == CTRD_CLEANUP_KEEP);
    CHECK(ctrd_container_info_labels_len(NULL) == 0);
    CHECK(ctrd_container_info_label_key(NULL, 0) == NULL);
    CHECK(ctrd_container_info_label_value(NULL, 0) == NULL);
    CHECK(ctrd_container_info_label(NULL, "x") == NULL);
    CHECK(ctrd_container_info_terminal(NULL) == 0 && ctrd_container_info_generation(NULL) == 0);
    CHECK(ctrd_container_info_status(NULL) == 0 && ctrd_container_info_pid(NULL) == 0);
    CHECK(ctrd_container_info_exit_code(NULL, &code) == 0 && code == 7);
    CHECK(ctrd_container_info_exit_time(NULL, &time) == 0 && time.seconds == 7);
    CHECK(ctrd_container_info_created_at(NULL, &time) == 0 && time.seconds == 7);
    CHECK(ctrd_container_info_updated_at(NULL, &time) == 0 && time.seconds == 7);
    CHECK(ctrd_container_info_list_len(NULL) == 0 && !ctrd_container_info_list_get(NULL, 0));
    CHECK(ctrd_stats_get(NULL, CTRD_STAT_CPU_USAGE_NS, NULL) == 0);
    EMPTY(ctrd_stats_container_id(NULL));
    EMPTY(ctrd_stats_json(NULL));
    EMPTY(ctrd_stats_raw_type(NULL));
    CHECK(ctrd_stats_raw_data(NULL) == NULL && ctrd_stats_raw_len(NULL) == 0);
    CHECK(ctrd_stats_error(NULL) == NULL && ctrd_stats_cgroup_version(NULL) == 0);
    CHECK(ctrd_stats_time(NULL, &time) == 0 && time.seconds == 7);
    CHECK(ctrd_stats_list_len(NULL) == 0 && ctrd_stats_list_get(NULL, 0) == NULL);
    CHECK(ctrd_dispatch_fd(NULL) == -1 && ctrd_queue_fd(NULL) == -1);
    CHECK(ctrd_recovery_list_len(NULL) == 0 && ctrd_recovery_list_get(NULL, 0) == NULL);
    EMPTY(ctrd_recovery_id(NULL));
    CHECK(ctrd_recovery_state(NULL) == 0 && ctrd_recovery_pid(NULL) == 0);
    CHECK(ctrd_recovery_exit_code(NULL, &code) == 0 && code == 7);
    CHECK(ctrd_recovery_generation(NULL) == 0 && ctrd_recovery_error(NULL) == NULL);

    CHECK(ctrd_progress_list_len(NULL) == 0 && ctrd_progress_list_get(NULL, 0) == NULL);
    EMPTY(ctrd_progress_reference(NULL));
    CHECK(ctrd_progress_status(NULL) == 0);
    CHECK(ctrd_progress_offset(NULL) == 0 && ctrd_progress_total(NULL) == 0);
    CHECK(ctrd_progress_started_at(NULL, &time) == 0 && ctrd_progress_updated_at(NULL, NULL) == 0);

    CHECK(ctrd_image_info_list_len(NULL) == 0 && ctrd_image_info_list_get(NULL, 0) == NULL);
    EMPTY(ctrd_image_info_name(NULL));
    EMPTY(ctrd_image_info_id(NULL));
    EMPTY(ctrd_image_info_digest(NULL));
    EMPTY(ctrd_image_info_media_type(NULL));
    CHECK(ctrd_image_info_size(NULL) == 0 && ctrd_image_info_labels_len(NULL) == 0);
    CHECK(ctrd_image_info_label_key(NULL, 0) == NULL);
    CHECK(ctrd_image_info_label_value(NULL, 0) == NULL);
    CHECK(ctrd_image_info_created_at(NULL, &time) == 0);
    CHECK(ctrd_image_info_updated_at(NULL, &time) == 0);

    EMPTY(ctrd_snapshot_info_name(NULL));
    EMPTY(ctrd_snapshot_info_parent(NULL));
    CHECK(ctrd_snapshot_info_kind(NULL) == 0 && ctrd_snapshot_info_labels_len(NULL) == 0);
    CHECK(ctrd_snapshot_info_label_key(NULL, 0) == NULL);
    CHECK(ctrd_snapshot_info_label_value(NULL, 0) == NULL);
    CHECK(ctrd_snapshot_info_created_at(NULL, &time) == 0);
    CHECK(ctrd_snapshot_info_updated_at(NULL, &time) == 0);

    EMPTY(ctrd_daemon_address(NULL));
    CHECK(ctrd_daemon_pid(NULL) == 0 && ctrd_daemon_restarts(NULL) == 0);
    return 0;
}
