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
    ctrd_queue_t *queue;
    ctrd_message_t *message = NULL;
    int64_t began = test_now_ms();

    call.timeout_ms = CTRD_REMAINING(began, began);
    FAILS(CTRD_E_TIMEOUT, ctrd_version(client, &call, &version, &err));
    CHECK(version == NULL);
    FAILS(CTRD_E_TIMEOUT, ctrd_probe(client, "nobody", NULL, NULL, &call, NULL, &err));
    FAILS(CTRD_E_TIMEOUT, ctrd_destroy_container(client, "nobody", NULL, &call, NULL, &err));
    FAILS(CTRD_E_TIMEOUT, ctrd_remove_hook(client, 77, &call, &err));
    queue = test_queue();
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

int main(void)
{
    ctrd_client_t *client = test_client();

    constants();
    passed(client);
    ctrd_client_free(client);
    return 0;
}
