/* A cancel handle ends calls from another thread and from a signal handler. */
#include "test.h"

#include <pthread.h>
#include <signal.h>
#include <sys/time.h>

static ctrd_cancel_t *cancel;
static char *path;

static ctrd_status_t open_mute(void)
{
    ctrd_client_config_t config = CTRD_CLIENT_CONFIG_INIT;
    ctrd_call_t call = CTRD_CALL_INIT;
    ctrd_client_t *client = NULL;

    config.address = path;
    call.timeout_ms = CTRD_FOREVER;
    call.cancel = cancel;
    return ctrd_client_open(&config, &call, &client, &err);
}

static void *fire_later(void *unused)
{
    test_sleep_ms(100);
    ctrd_cancel_fire(cancel);
    return unused;
}

static void on_alarm(int number)
{
    (void)number;
    errno = ENOTTY;
    ctrd_cancel_fire(cancel);
    ctrd_cancel_fire(cancel);
    if (errno != ENOTTY)
        _exit(3);
}

int main(void)
{
    struct itimerval in_100_ms;
    struct sigaction action;
    pthread_t thread;
    int server;

    path = test_path("socket");
    server = test_mute_server(path);

    OK(ctrd_cancel_new(&cancel, &err));
    CHECK(pthread_create(&thread, NULL, fire_later, NULL) == 0);
    FAILS(CTRD_E_CANCELLED, open_mute());
    CHECK(pthread_join(thread, NULL) == 0);
    /* Fired once, it stays fired. */
    FAILS(CTRD_E_CANCELLED, open_mute());
    ctrd_cancel_free(cancel);

    OK(ctrd_cancel_new(&cancel, &err));
    memset(&action, 0, sizeof action);
    action.sa_handler = on_alarm;
    CHECK(sigaction(SIGALRM, &action, NULL) == 0);
    memset(&in_100_ms, 0, sizeof in_100_ms);
    in_100_ms.it_value.tv_usec = 100000;
    CHECK(setitimer(ITIMER_REAL, &in_100_ms, NULL) == 0);
    FAILS(CTRD_E_CANCELLED, open_mute());
    ctrd_cancel_free(cancel);

    unlink(path);
    close(server);
    free(path);
    return 0;
}
