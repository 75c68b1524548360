/* Timeouts: the constants, and deadlines that have passed. */
#include "test.h"

static void constants(void)
{
    CHECK(CTRD_FOREVER == INT64_MAX && CTRD_FOREVER == ctrd_forever());
    CHECK(CTRD_POLL == INT64_MIN && CTRD_POLL == ctrd_poll());
    CHECK(CTRD_GRACE_NONE == -1);
    CHECK(CTRD_REMAINING((int64_t)1500, (int64_t)1000) == 500);
    CHECK(CTRD_REMAINING((int64_t)1000, (int64_t)1000) == -1);
    CHECK(CTRD_REMAINING((int64_t)1000, (int64_t)5000) == -1);
    CHECK(CTRD_REMAINING(2000u, 1000u) == 1000 && CTRD_REMAINING(1000u, 2000u) == -1);
}

/* A deadline that has passed: nothing is done, whatever the function. */
static void passed(ctrd_client_t *client)
{
    ctrd_version_info_t *version = (ctrd_version_info_t *)&err;
    ctrd_call_t call = CTRD_CALL_INIT;
    ctrd_queue_t *queue = NULL;
    ctrd_message_t *message = NULL;
    int64_t began = test_now_ms();

    call.timeout_ms = CTRD_REMAINING(began, began);
    FAILS(CTRD_E_TIMEOUT, ctrd_version(client, &call, &version, &err));
    CHECK(version == NULL);
    FAILS(CTRD_E_TIMEOUT, ctrd_probe(client, "nobody", NULL, NULL, &call, NULL, &err));
    FAILS(CTRD_E_TIMEOUT, ctrd_destroy_container(client, "nobody", NULL, &call, NULL, &err));
    FAILS(CTRD_E_TIMEOUT, ctrd_remove_hook(client, 77, &call, &err));
    OK(ctrd_queue_open(client, CTRD_KIND_EXIT, NULL, 0, 0, NULL, &queue, &err));
    FAILS(CTRD_E_TIMEOUT, ctrd_queue_next(queue, &call, &message, &err));
    FAILS(CTRD_E_TIMEOUT, ctrd_client_close(client, &call, &err));
    call.timeout_ms = CTRD_POLL + 1;
    FAILS(CTRD_E_TIMEOUT, ctrd_version(client, &call, &version, &err));
    CHECK(ctrd_version(client, &call, &version, &err) == CTRD_E_TIMEOUT);
    CHECK((ctrd_error_flags(err) & CTRD_ERROR_OUTCOME_UNKNOWN) == 0);
    ctrd_error_free(err);
    /* An invalid argument is refused all the same. */
    REFUSES("id", ctrd_probe(client, NULL, NULL, NULL, &call, NULL, &err));
    CHECK(test_now_ms() - began < 5000);
    ctrd_queue_free(queue);
    OK(ctrd_version(client, NULL, &version, &err));
    ctrd_version_info_free(version);
}

/* Calls cannot be submitted yet. */
static void submitted(ctrd_client_t *client)
{
    ctrd_call_t call = CTRD_CALL_INIT;
    ctrd_version_info_t *version = NULL;
    ctrd_queue_t *queue = NULL;
    ctrd_message_t *message = NULL;
    uint32_t pid = 77;

    OK(ctrd_queue_open(client, CTRD_KIND_EXIT, NULL, 0, 0, NULL, &queue, &err));
    call.queue = queue;
    call.tag = 5;
    FAILS(CTRD_E_UNSUPPORTED, ctrd_version(client, &call, NULL, &err));
    FAILS(CTRD_E_UNSUPPORTED, ctrd_container_pid(client, "x", &call, NULL, &err));
    /* What a submitted call would write later is refused. */
    REFUSES("out", ctrd_version(client, &call, &version, &err));
    REFUSES("pid_out", ctrd_start_container(client, "x", &call, &pid, &err));
    REFUSES("id", ctrd_start_container(client, NULL, &call, NULL, &err));
    /* This function never can be. */
    REFUSES("queue", ctrd_queue_next(queue, &call, NULL, &err));
    CHECK(message == NULL && pid == 77);
    ctrd_queue_free(queue);
}

int main(void)
{
    ctrd_client_t *client = test_client();

    constants();
    passed(client);
    submitted(client);
    ctrd_client_free(client);
    return 0;
}
