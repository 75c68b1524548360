/*
 * run SOCKET IMAGE [COMMAND [ARGUMENT...]]
 *
 * Pulls an image, runs a command in a new container of it with this program's own input and output, and
 * removes the container. It ends with the command's exit code, or with 125 where a step has failed.
 * An interrupt (Ctrl-C) ends the container.
 */
#define _POSIX_C_SOURCE 200809L

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <ctrd.h>

enum { STEP_FAILED = 125, MAX_ITEMS = 20 };

/* Fired by an interrupt: ends the call that is under way. */
static ctrd_cancel_t *interrupted;

static void on_interrupt(int number)
{
    (void)number;
    ctrd_cancel_fire(interrupted);
}

static int failed(const char *step, ctrd_error_t *err)
{
    const ctrd_error_t *cause = ctrd_error_cause(err);

    fprintf(stderr, "run: could not %s: %s\n", step, ctrd_error_text(err));
    for (; cause != NULL; cause = ctrd_error_cause(cause))
        fprintf(stderr, "run: because of: %s\n", ctrd_error_text(cause));
    if (ctrd_error_flags(err) & CTRD_ERROR_RETRYABLE)
        fprintf(stderr, "run: trying again may help\n");
    ctrd_error_free(err);
    return STEP_FAILED;
}

/* The display of a pull: on a terminal it is drawn again each time; elsewhere each change is a line. */
struct display {
    int terminal;
    size_t lines;
    uint32_t shown[MAX_ITEMS];
};

static const char *status_text(const ctrd_progress_t *item)
{
    switch (ctrd_progress_status(item)) {
    case CTRD_PROGRESS_RESOLVING: return "resolving";
    case CTRD_PROGRESS_RESOLVED: return "resolved";
    case CTRD_PROGRESS_WAITING: return "waiting";
    case CTRD_PROGRESS_DOWNLOADING: return "downloading";
    case CTRD_PROGRESS_EXTRACTING: return "extracting";
    case CTRD_PROGRESS_DONE: return "done";
    case CTRD_PROGRESS_EXISTS: return "exists";
    default: return "";
    }
}

/* As in "layer-sha256:0123456789ab    downloading   1.5 of 3.0 MiB". */
static void print_item(const ctrd_progress_t *item)
{
    const char *name = ctrd_progress_reference(item);
    const char *digest = strstr(name, "sha256:");
    int length = digest != NULL ? (int)(digest - name) + 19 : 48;
    double offset = (double)ctrd_progress_offset(item) / 1024;
    double total = (double)ctrd_progress_total(item) / 1024;
    const char *unit = "KiB";

    if (total >= 1024) {
        offset /= 1024;
        total /= 1024;
        unit = "MiB";
    }
    printf("%-48.*s %-11s", length, name, status_text(item));
    if (total > 0)
        printf(" %7.1f of %.1f %s", offset, total, unit);
    printf("\n");
}

static void show_progress(void *userdata, const ctrd_progress_list_t *progress)
{
    struct display *display = userdata;
    size_t len = ctrd_progress_list_len(progress), i;

    if (len > MAX_ITEMS)
        len = MAX_ITEMS;
    if (display->terminal && display->lines > 0)
        printf("\033[%uA", (unsigned)display->lines);
    for (i = 0; i < len; i++) {
        const ctrd_progress_t *item = ctrd_progress_list_get(progress, i);

        if (display->terminal)
            printf("\033[2K");
        else if (display->shown[i] == ctrd_progress_status(item))
            continue;
        display->shown[i] = ctrd_progress_status(item);
        print_item(item);
    }
    display->lines = len;
    fflush(stdout);
}

static int pull(ctrd_client_t *client, const char *reference, const ctrd_call_t *call)
{
    ctrd_pull_config_t config = CTRD_PULL_CONFIG_INIT;
    ctrd_error_t *err = NULL;
    ctrd_status_t status;
    struct display display = {0, 0, {0}};

    display.terminal = isatty(STDOUT_FILENO);
    config.reference = reference;
    if (ctrd_progress_callback_new(show_progress, &display, NULL, &config.progress, &err))
        return failed("show the progress of the pull", err);
    status = ctrd_pull_image(client, &config, call, NULL, &err);
    ctrd_progress_callback_free(config.progress);
    return status == CTRD_OK ? 0 : failed("pull the image", err);
}

/* Runs the command in a container, and gives its exit code. */
static int run(ctrd_client_t *client, const char *image, char **command, int length,
               const ctrd_call_t *call)
{
    ctrd_container_config_t config = CTRD_CONTAINER_CONFIG_INIT;
    ctrd_io_t io = CTRD_IO_INIT;
    ctrd_message_t *message = NULL;
    ctrd_error_t *err = NULL;
    uint32_t code = 0;
    int result = 0;
    char id[32];

    snprintf(id, sizeof id, "run-%ld", (long)getpid());
    io.stdin_kind = io.stdout_kind = io.stderr_kind = CTRD_IO_FD;
    io.stdin_fd = STDIN_FILENO;
    io.stdout_fd = STDOUT_FILENO;
    io.stderr_fd = STDERR_FILENO;
    config.id = id;
    config.image = image;
    config.args = (const char *const *)command;
    config.args_len = (size_t)length;

    /* A create that fails leaves nothing behind. */
    if (ctrd_create_container(client, &config, &io, call, NULL, &err))
        return failed("create the container", err);
    if (ctrd_probe(client, id, NULL, NULL, call, NULL, &err))
        result = failed("wait for the container's end", err);

    /* Not cancelled: what was made is to go in any case. */
    if (ctrd_destroy_container(client, id, NULL, NULL, &message, &err))
        return failed("destroy the container", err);
    if (ctrd_message_exit_code(message, &code))
        printf("exit code %u\n", (unsigned)code);
    else
        printf("exit code unknown: %s\n", ctrd_error_text(ctrd_message_error(message)));
    if (result == 0)
        result = ctrd_message_exit_code(message, NULL) ? (int)code : STEP_FAILED;
    ctrd_message_free(message);
    return result;
}

int main(int argc, char **argv)
{
    ctrd_client_config_t config = CTRD_CLIENT_CONFIG_INIT;
    ctrd_call_t call = CTRD_CALL_INIT;
    ctrd_client_t *client = NULL;
    ctrd_error_t *err = NULL;
    struct sigaction action;
    int result;

    if (argc < 3) {
        fprintf(stderr, "usage: run SOCKET IMAGE [COMMAND [ARGUMENT...]]\n");
        return STEP_FAILED;
    }
    if (ctrd_cancel_new(&interrupted, &err))
        return failed("make a cancel handle", err);
    call.cancel = interrupted;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_interrupt;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);

    config.address = argv[1];
    if (ctrd_client_open(&config, &call, &client, &err)) {
        result = failed("reach containerd", err);
    } else {
        result = pull(client, argv[2], &call);
        if (result == 0)
            result = run(client, argv[2], argv + 3, argc - 3, &call);
    }
    ctrd_client_free(client);
    ctrd_cancel_free(interrupted);
    return result;
}
