/*
 * watch SOCKET NAMESPACE [CONTAINER...]
 *
 * Prints the events of a namespace, and the exits of the containers that are named, until its own input
 * ends (Ctrl-D). It has one loop around poll(2): a queue of the library's has a descriptor that is
 * readable while the queue holds a message.
 */
#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <ctrd.h>

static int failed(const char *step, ctrd_error_t *err)
{
    fprintf(stderr, "watch: could not %s: %s\n", step, ctrd_error_text(err));
    ctrd_error_free(err);
    return 1;
}

static void print(const ctrd_message_t *message)
{
    uint32_t code;

    switch (ctrd_message_kind(message)) {
    case CTRD_KIND_EXIT:
        if (ctrd_message_exit_code(message, &code))
            printf("exit of %s: %u\n", ctrd_message_container_id(message), (unsigned)code);
        else
            printf("exit of %s: unknown: %s\n", ctrd_message_container_id(message),
                   ctrd_error_text(ctrd_message_error(message)));
        break;
    case CTRD_KIND_EVENT:
        printf("%s %s\n", ctrd_message_topic(message), ctrd_message_json(message));
        break;
    case CTRD_KIND_GAP:
        printf("events may be missing here: %s\n", ctrd_error_text(ctrd_message_error(message)));
        break;
    case CTRD_KIND_OVERFLOW:
        printf("%llu messages are missing here\n",
               (unsigned long long)ctrd_message_dropped(message));
        break;
    }
    fflush(stdout);
}

/* Prints the messages in the queue. */
static int drain(ctrd_queue_t *queue)
{
    ctrd_message_t *message = NULL;
    ctrd_error_t *err = NULL;
    ctrd_status_t status;

    while ((status = ctrd_queue_try_next(queue, &message, &err)) == CTRD_OK) {
        print(message);
        ctrd_message_free(message);
    }
    if (status != CTRD_E_WOULD_BLOCK)
        return failed("fetch a message", err);
    ctrd_error_free(err);
    return 0;
}

static int loop(ctrd_queue_t *queue)
{
    struct pollfd fds[2];
    char input[256];

    memset(fds, 0, sizeof fds);
    fds[0].fd = STDIN_FILENO;
    fds[1].fd = ctrd_queue_fd(queue);
    fds[0].events = fds[1].events = POLLIN;
    for (;;) {
        if (poll(fds, 2, -1) < 0) {
            if (errno == EINTR)
                continue;
            perror("watch: poll");
            return 1;
        }
        if (fds[1].revents != 0 && drain(queue) != 0)
            return 1;
        if (fds[0].revents != 0 && read(STDIN_FILENO, input, sizeof input) <= 0)
            return 0;
    }
}

int main(int argc, char **argv)
{
    ctrd_client_config_t config = CTRD_CLIENT_CONFIG_INIT;
    ctrd_client_t *client = NULL;
    ctrd_subscription_config_t subscription_config = CTRD_SUBSCRIPTION_CONFIG_INIT;
    ctrd_subscription_t *subscription = NULL;
    ctrd_queue_t *queue = NULL;
    ctrd_error_t *err = NULL;
    char filter[128];
    const char *filters[1];
    int result = 0, i;

    if (argc < 3) {
        fprintf(stderr, "usage: watch SOCKET NAMESPACE [CONTAINER...]\n");
        return 2;
    }
    config.address = argv[1];
    config.namespace_name = argv[2];
    snprintf(filter, sizeof filter, "namespace==\"%s\"", argv[2]);
    filters[0] = filter;
    if (ctrd_client_open(&config, NULL, &client, &err))
        return failed("reach containerd", err);
    subscription_config.kinds = CTRD_KIND_EXIT | CTRD_KIND_EVENT;
    subscription_config.filters = filters;
    subscription_config.filters_len = 1;
    if (ctrd_queue_new(NULL, &queue, &err)
        || ctrd_queue_subscribe(queue, client, &subscription_config, NULL, &subscription, &err))
        result = failed("subscribe to the client's messages", err);

    /* The client reports the exits of the containers that it watches. */
    for (i = 3; result == 0 && i < argc; i++) {
        if (ctrd_watch_container(client, argv[i], NULL, NULL, &err))
            result = failed("watch a container", err);
    }
    if (result == 0) {
        printf("watching %s\n", argv[2]);
        fflush(stdout);
        result = loop(queue);
    }
    ctrd_subscription_free(subscription);
    ctrd_queue_free(queue);
    ctrd_client_free(client);
    return result;
}
