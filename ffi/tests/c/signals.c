/* The host's signals stay the host's: dispositions, masks, and no SIGPIPE. */
#include "test.h"

#include <dirent.h>
#include <signal.h>

/* The mask of a thread, as the kernel has it. */
static unsigned long long mask_of(const char *thread)
{
    char path[128], line[256];
    unsigned long long mask = 0;
    FILE *status;

    snprintf(path, sizeof path, "/proc/self/task/%s/status", thread);
    status = fopen(path, "re");
    CHECK(status != NULL);
    while (fgets(line, sizeof line, status) != NULL)
        if (sscanf(line, "SigBlk: %llx", &mask) == 1)
            break;
    fclose(status);
    return mask;
}

static int check_threads(void)
{
    DIR *directory = opendir("/proc/self/task");
    struct dirent *entry;
    char self[32];
    int others = 0, number;

    CHECK(directory != NULL);
    snprintf(self, sizeof self, "%ld", (long)getpid());
    while ((entry = readdir(directory)) != NULL) {
        unsigned long long mask;

        if (entry->d_name[0] == '.')
            continue;
        mask = mask_of(entry->d_name);
        if (strcmp(entry->d_name, self) == 0) {
            CHECK(mask == 0);
            continue;
        }
        others++;
        for (number = 1; number <= SIGRTMAX; number++) {
            /* Two cannot be blocked, and two are the C library's. */
            if (number == SIGKILL || number == SIGSTOP || (number >= 32 && number < SIGRTMIN))
                continue;
            if (!(mask >> (number - 1) & 1)) {
                fprintf(stderr, "thread %s does not block signal %d\n", entry->d_name, number);
                exit(1);
            }
        }
    }
    closedir(directory);
    return others;
}

int main(void)
{
    struct sigaction before[65], after;
    ctrd_client_t *client;
    ctrd_client_config_t config = CTRD_CLIENT_CONFIG_INIT;
    ctrd_call_t call = CTRD_CALL_INIT;
    ctrd_version_info_t *version = NULL;
    ctrd_client_t *mute = NULL;
    char *path = test_path("socket");
    int server, number;
    pid_t child;

    for (number = 1; number <= 64; number++)
        if (sigaction(number, NULL, &before[number]) != 0)
            memset(&before[number], 0, sizeof before[number]);

    client = test_client();
    OK(ctrd_version(client, NULL, &version, &err));
    ctrd_version_info_free(version);
    CHECK(check_threads() >= 1);

    /* A server that hangs up on what is written to it; a SIGPIPE would end this program. */
    server = test_mute_server(path);
    config.address = path;
    call.timeout_ms = 300;
    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        for (;;)
            close(accept(server, NULL, NULL));
    }
    close(server);
    CHECK(ctrd_client_open(&config, &call, &mute, NULL) != CTRD_OK);
    CHECK(kill(child, SIGKILL) == 0 && test_exit_code(child) == -1);
    CHECK(check_threads() >= 1);

    for (number = 1; number <= 64; number++) {
        if (sigaction(number, NULL, &after) != 0)
            continue;
        CHECK(after.sa_handler == before[number].sa_handler);
        CHECK(after.sa_flags == before[number].sa_flags);
    }
    ctrd_client_free(client);
    unlink(path);
    free(path);
    return 0;
}
