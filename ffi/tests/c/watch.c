/* A client watches a container that another one made; and a probe that polls asks nobody. */
#include "test.h"

#include <signal.h>

static ctrd_client_t *maker, *client;

static ctrd_call_t polling(void)
{
    ctrd_call_t call = CTRD_CALL_INIT;

    call.timeout_ms = CTRD_POLL;
    return call;
}

static uint32_t code_of(ctrd_message_t *message)
{
    uint32_t code = 0xffffffff;

    CHECK(ctrd_message_exit_code(message, &code) == 1);
    ctrd_message_free(message);
    return code;
}

static void watched(const char *image)
{
    ctrd_call_t poll = polling(), call = CTRD_CALL_INIT;
    ctrd_subscription_config_t exits = CTRD_SUBSCRIPTION_CONFIG_INIT;
    ctrd_subscription_t *subscription = NULL;
    ctrd_queue_t *queue = NULL;
    ctrd_message_t *message = NULL;
    ctrd_counters_t counters = CTRD_COUNTERS_INIT;
    uint32_t pid = 0;
    const char *id = test_create(maker, image, "sleep 1000", NULL, 0, &pid);

    OK(ctrd_queue_new(NULL, &queue, &err));
    exits.kinds = CTRD_KIND_EXIT;
    OK(ctrd_queue_subscribe(queue, client, &exits, NULL, &subscription, &err));

    FAILS(CTRD_E_FAILED_PRECONDITION, ctrd_probe(client, id, NULL, NULL, &poll, &message, &err));
    CHECK(message == NULL);
    OK(ctrd_client_counters(client, &counters, &err));
    CHECK(counters.outstanding == 0);
    call.queue = queue;
    call.tag = 5;
    OK(ctrd_watch_container(client, id, NULL, &call, &err));
    OK(ctrd_queue_next(queue, &soon, &message, &err));
    CHECK(ctrd_message_tag(message) == 5 && ctrd_message_status(message) == CTRD_OK);
    ctrd_message_free(message);
    /* A second time changes nothing. */
    OK(ctrd_watch_container(client, id, NULL, NULL, &err));
    OK(ctrd_client_counters(client, &counters, &err));
    CHECK(counters.outstanding == 1);
    FAILS(CTRD_E_WOULD_BLOCK, ctrd_probe(client, id, NULL, NULL, &poll, &message, &err));

    CHECK(kill((pid_t)pid, SIGKILL) == 0);
    OK(ctrd_queue_next(queue, &soon, &message, &err));
    CHECK(strcmp(ctrd_message_container_id(message), id) == 0);
    CHECK(ctrd_message_pid(message) == pid);
    CHECK(code_of(message) == 128 + SIGKILL);
    OK(ctrd_probe(client, id, NULL, NULL, &poll, &message, &err));
    CHECK(code_of(message) == 128 + SIGKILL);
    OK(ctrd_destroy_container(maker, id, NULL, NULL, NULL, &err));
    ctrd_subscription_free(subscription);
    ctrd_queue_free(queue);
}

/* A poll does not ask the server, which would say that there is no such container. */
static void asks_nobody(void)
{
    ctrd_call_t poll = polling();

    FAILS(CTRD_E_NOT_FOUND, ctrd_probe(client, "nobody", NULL, NULL, &soon, NULL, &err));
    FAILS(CTRD_E_FAILED_PRECONDITION, ctrd_probe(client, "nobody", NULL, NULL, &poll, NULL, &err));
}

static void refusals(void)
{
    REFUSES("client", ctrd_watch_container(NULL, "x", NULL, NULL, &err));
    REFUSES("id", ctrd_watch_container(client, NULL, NULL, NULL, &err));
    REFUSES("exec_id", ctrd_watch_container(client, "x", "\xff", NULL, &err));
    FAILS(CTRD_E_NOT_FOUND, ctrd_watch_container(client, "x", "y", NULL, &err));
    FAILS(CTRD_E_NOT_FOUND, ctrd_watch_container(client, "nobody", NULL, NULL, &err));
}

int main(void)
{
    maker = test_client();
    client = test_client();
    watched(test_image(maker));
    asks_nobody();
    refusals();
    ctrd_client_free(client);
    ctrd_client_free(maker);
    return 0;
}
