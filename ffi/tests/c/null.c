/* Every accessor and every _free function accepts NULL. */
#include "test.h"

int main(void)
{
    ctrd_time_t time = {7, 7, 7};
    uint32_t code = 7;

    ctrd_error_free(NULL);
    ctrd_cancel_free(NULL);
    ctrd_client_free(NULL);
    ctrd_version_free(NULL);
    ctrd_message_free(NULL);
    ctrd_image_free(NULL);
    ctrd_image_list_free(NULL);
    ctrd_snapshot_free(NULL);
    ctrd_string_free(NULL);
    ctrd_daemon_free(NULL);
    ctrd_queue_free(NULL);
    ctrd_recovery_free(NULL);
    ctrd_cancel_fire(NULL);

    ctrd_call_init(NULL, sizeof(ctrd_call_t));
    ctrd_client_config_init(NULL, sizeof(ctrd_client_config_t));
    ctrd_counters_init(NULL, sizeof(ctrd_counters_t));
    ctrd_io_init(NULL, sizeof(ctrd_io_t));
    ctrd_container_config_init(NULL, sizeof(ctrd_container_config_t));
    ctrd_pull_config_init(NULL, sizeof(ctrd_pull_config_t));
    ctrd_daemon_config_init(NULL, sizeof(ctrd_daemon_config_t));

    CHECK(ctrd_error_status(NULL) == CTRD_OK);
    CHECK(ctrd_error_text(NULL) == NULL && ctrd_error_message(NULL) == NULL);
    CHECK(ctrd_error_operation(NULL) == NULL && ctrd_error_subject(NULL) == NULL);
    CHECK(ctrd_error_step(NULL) == NULL && ctrd_error_cause(NULL) == NULL);
    CHECK(ctrd_error_grpc_code(NULL) == 0 && ctrd_error_errno(NULL) == 0);
    CHECK(ctrd_error_flags(NULL) == 0);

    CHECK(ctrd_has_feature(NULL) == 0);
    CHECK(ctrd_version_server(NULL) == NULL && ctrd_version_revision(NULL) == NULL);

    CHECK(ctrd_message_kind(NULL) == 0 && ctrd_message_origin(NULL) == 0);
    CHECK(ctrd_message_container_id(NULL) == NULL && ctrd_message_exec_id(NULL) == NULL);
    CHECK(ctrd_message_exit_code(NULL, &code) == 0 && code == 7);
    CHECK(ctrd_message_exit_time(NULL, &time) == 0 && time.seconds == 7);
    CHECK(ctrd_message_error(NULL) == NULL && ctrd_message_start_error(NULL) == NULL);
    CHECK(ctrd_message_ref(NULL) == NULL);
    CHECK(ctrd_message_seq(NULL) == 0 && ctrd_message_dropped(NULL) == 0);
    CHECK(ctrd_message_namespace(NULL) == NULL && ctrd_message_topic(NULL) == NULL);
    CHECK(ctrd_message_json(NULL) == NULL);
    CHECK(ctrd_message_event_time(NULL, &time) == 0 && time.seconds == 7);

    CHECK(ctrd_dispatch_fd(NULL) == -1 && ctrd_queue_fd(NULL) == -1);
    CHECK(ctrd_recovery_len(NULL) == 0 && ctrd_recovery_id(NULL, 0) == NULL);
    CHECK(ctrd_recovery_state(NULL, 0) == 0 && ctrd_recovery_error(NULL, 0) == NULL);

    CHECK(ctrd_progress_list_len(NULL) == 0 && ctrd_progress_list_get(NULL, 0) == NULL);
    CHECK(ctrd_progress_reference(NULL) == NULL && ctrd_progress_status(NULL) == 0);
    CHECK(ctrd_progress_offset(NULL) == 0 && ctrd_progress_total(NULL) == 0);
    CHECK(ctrd_progress_started_at(NULL, &time) == 0 && ctrd_progress_updated_at(NULL, NULL) == 0);

    CHECK(ctrd_image_list_len(NULL) == 0 && ctrd_image_list_get(NULL, 0) == NULL);
    CHECK(ctrd_image_name(NULL) == NULL && ctrd_image_id(NULL) == NULL);
    CHECK(ctrd_image_digest(NULL) == NULL && ctrd_image_media_type(NULL) == NULL);
    CHECK(ctrd_image_size(NULL) == 0 && ctrd_image_labels_len(NULL) == 0);
    CHECK(ctrd_image_label_key(NULL, 0) == NULL && ctrd_image_label_value(NULL, 0) == NULL);
    CHECK(ctrd_image_created_at(NULL, &time) == 0 && ctrd_image_updated_at(NULL, &time) == 0);

    CHECK(ctrd_snapshot_name(NULL) == NULL && ctrd_snapshot_parent(NULL) == NULL);
    CHECK(ctrd_snapshot_kind(NULL) == 0 && ctrd_snapshot_labels_len(NULL) == 0);
    CHECK(ctrd_snapshot_label_key(NULL, 0) == NULL && ctrd_snapshot_label_value(NULL, 0) == NULL);
    CHECK(ctrd_snapshot_created_at(NULL, &time) == 0 && ctrd_snapshot_updated_at(NULL, &time) == 0);

    CHECK(ctrd_daemon_address(NULL) == NULL);
    CHECK(ctrd_daemon_pid(NULL) == 0 && ctrd_daemon_restarts(NULL) == 0);
    return 0;
}
