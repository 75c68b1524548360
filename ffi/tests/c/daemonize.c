/* A daemon that forks twice and opens its client then has everything: calls, hooks, streams. */
#include "test.h"

#include <poll.h>

static int told;

static void count(void *userdata, const ctrd_message_t *message)
{
    uint32_t code = 0;

    (void)userdata;
    CHECK(ctrd_message_exit_code(message, &code) == 1 && code == 7);
    told++;
}

static void be_a_daemon(int report)
{
    ctrd_client_t *client = test_client();
    const char *image = test_image(client), *id;
    ctrd_io_t io = CTRD_IO_INIT;
    char line[8] = "";
    struct pollfd ready;
    uint64_t hook;
    uint32_t ran = 0;
    int output[2];

    CHECK(pipe(output) == 0);
    io.stdout_kind = CTRD_IO_FD;
    io.stdout_fd = output[1];
    hook = test_add_hook(client, CTRD_KIND_EXIT, NULL, CTRD_HOOK_DISPATCH, count, NULL, NULL);
    id = test_create(client, image, "echo hello; exit 7", &io, 0, NULL);
    ready.fd = ctrd_dispatch_fd(client);
    ready.events = POLLIN;
    CHECK(ready.fd >= 0 && poll(&ready, 1, 30000) == 1);
    OK(ctrd_dispatch(client, 0, &ran, &err));
    CHECK(ran == 1 && told == 1);
    CHECK(read(output[0], line, sizeof line - 1) == 6 && strcmp(line, "hello\n") == 0);
    OK(ctrd_destroy_container(client, id, &at_once, NULL, NULL, &err));
    OK(ctrd_remove_hook(client, hook, NULL, &err));
    ctrd_client_free(client);
    CHECK(write(report, "ok", 2) == 2);
    exit(0);
}

int main(void)
{
    char answer[3] = "";
    int report[2], status;
    pid_t child;

    CHECK(pipe(report) == 0);
    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        CHECK(setsid() > 0);
        child = fork();
        CHECK(child >= 0);
        if (child == 0)
            be_a_daemon(report[1]);
        _exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    close(report[1]);
    CHECK(read(report[0], answer, 2) == 2 && strcmp(answer, "ok") == 0);
    return 0;
}
