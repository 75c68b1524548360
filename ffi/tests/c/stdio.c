/* Standard streams: descriptors that stay the caller's, descriptors that are given away, and paths. */
#include "test.h"

static ctrd_client_t *client;
static const char *image;

/* Runs a shell command with these streams to its end, and gives its exit code. */
static uint32_t run(const char *command, const ctrd_io_t *io)
{
    ctrd_message_t *message = NULL;
    uint32_t code = 0;
    const char *id = test_create(client, image, command, io, 0, NULL);

    OK(ctrd_probe(client, id, NULL, NULL, &soon, NULL, &err));
    OK(ctrd_destroy_container(client, id, NULL, NULL, &message, &err));
    CHECK(ctrd_message_exit_code(message, &code) == 1);
    ctrd_message_free(message);
    return code;
}

/* Reads from a descriptor until its end, which comes when nobody has the other end any more. */
static char *read_all(int fd)
{
    static char text[4096];
    size_t length = 0;
    ssize_t count;

    while ((count = read(fd, text + length, sizeof text - 1 - length)) > 0)
        length += (size_t)count;
    CHECK(count == 0);
    text[length] = 0;
    close(fd);
    return text;
}

static void descriptors(void)
{
    ctrd_io_t io = CTRD_IO_INIT;
    int in[2], out[2], problems[2], flags;

    CHECK(pipe2(in, O_CLOEXEC) == 0 && pipe2(out, O_CLOEXEC) == 0);
    CHECK(pipe2(problems, O_CLOEXEC) == 0);
    io.stdin_kind = io.stdout_kind = io.stderr_kind = CTRD_IO_FD;
    io.stdin_fd = in[0];
    io.stdout_fd = out[1];
    io.stderr_fd = problems[1];
    flags = fcntl(out[1], F_GETFL);

    CHECK(write(in[1], "some input\n", 11) == 11);
    close(in[1]);
    CHECK(run("cat; echo a problem >&2; exit 3", &io) == 3);

    /* They are still open, and as they were. */
    CHECK(fcntl(out[1], F_GETFL) == flags);
    CHECK(write(out[1], "ours\n", 5) == 5);
    close(in[0]);
    close(out[1]);
    close(problems[1]);
    CHECK(strcmp(read_all(out[0]), "some input\nours\n") == 0);
    CHECK(strcmp(read_all(problems[0]), "a problem\n") == 0);
}

static int is_open(int fd)
{
    return fcntl(fd, F_GETFD) != -1;
}

/* Descriptors that are given away are the library's, which closes them. */
static void given_away(void)
{
    ctrd_io_t io = CTRD_IO_INIT;
    int in[2], out[2];

    CHECK(pipe2(in, O_CLOEXEC) == 0 && pipe(out) == 0);
    io.stdin_kind = io.stdout_kind = io.stderr_kind = CTRD_IO_FD_TAKE;
    io.stdin_fd = in[0];
    io.stdout_fd = io.stderr_fd = out[1];
    CHECK(write(in[1], "some input\n", 11) == 11);
    close(in[1]);
    CHECK(run("cat; echo a problem >&2; exit 3", &io) == 3);
    /* The end comes because nothing has the descriptor open any more. */
    CHECK(strlen(read_all(out[0])) == strlen("some input\na problem\n"));
    CHECK(!is_open(in[0]) && !is_open(out[1]));

    /* One that is given away, and lent as well. */
    CHECK(pipe2(out, O_CLOEXEC) == 0);
    io.stdin_kind = CTRD_IO_NONE;
    io.stdout_kind = CTRD_IO_FD;
    io.stdout_fd = io.stderr_fd = out[1];
    CHECK(run("echo one; echo two >&2", &io) == 0);
    CHECK(strlen(read_all(out[0])) == strlen("one\ntwo\n") && !is_open(out[1]));
}

/* Gives a pipe's end away to a call that fails, and says whether it was closed. */
static int closed_by(ctrd_status_t (*fails)(const ctrd_io_t *))
{
    ctrd_io_t io = CTRD_IO_INIT;
    char byte;
    int out[2];

    CHECK(pipe2(out, O_CLOEXEC | O_NONBLOCK) == 0);
    io.stdout_kind = io.stderr_kind = CTRD_IO_FD_TAKE;
    io.stdout_fd = io.stderr_fd = out[1];
    CHECK(fails(&io) != CTRD_OK);
    ctrd_error_free(err);
    err = NULL;
    CHECK(is_open(out[1]) == (read(out[0], &byte, 1) == -1));
    close(out[0]);
    if (!is_open(out[1]))
        return 1;
    close(out[1]);
    return 0;
}

static ctrd_status_t no_client(const ctrd_io_t *io)
{
    return ctrd_create_container(NULL, NULL, io, NULL, NULL, &err);
}

static ctrd_status_t no_config(const ctrd_io_t *io)
{
    return ctrd_create_container(client, NULL, io, NULL, NULL, &err);
}

static ctrd_status_t no_image(const ctrd_io_t *io)
{
    ctrd_container_config_t config = CTRD_CONTAINER_CONFIG_INIT;

    config.id = test_id("c");
    config.image = "127.0.0.1:1/nothing:here";
    return ctrd_create_container(client, &config, io, NULL, NULL, &err);
}

static ctrd_status_t over(const ctrd_io_t *io)
{
    ctrd_call_t call = CTRD_CALL_INIT;

    call.timeout_ms = -1;
    return ctrd_recover_container(client, "nobody", io, &call, NULL, &err);
}

static ctrd_status_t bad_call(const ctrd_io_t *io)
{
    ctrd_call_t call = CTRD_CALL_INIT;

    call.size = 3;
    return ctrd_recover_container(client, "nobody", io, &call, NULL, &err);
}

static ctrd_status_t nobody(const ctrd_io_t *io)
{
    return ctrd_recover_container(client, "nobody", io, NULL, NULL, &err);
}

static ctrd_status_t unknown_kind(const ctrd_io_t *given)
{
    ctrd_io_t io = *given;

    io.stdin_kind = 77;
    return ctrd_recover_container(client, "nobody", &io, NULL, NULL, &err);
}

static ctrd_status_t not_open(const ctrd_io_t *given)
{
    ctrd_io_t io = *given;

    io.stderr_fd = 9999;
    return ctrd_create_container(client, NULL, &io, NULL, NULL, &err);
}

/* Whatever else is refused, descriptors that are given away are closed; not if the io is invalid. */
static void given_away_in_vain(void)
{
    CHECK(closed_by(no_client) && closed_by(no_config) && closed_by(no_image));
    CHECK(closed_by(over) && closed_by(bad_call) && closed_by(nobody));
    CHECK(!closed_by(unknown_kind) && !closed_by(not_open));
}

static void terminal(void)
{
    ctrd_io_t io = CTRD_IO_INIT;
    int out[2];

    CHECK(pipe2(out, O_CLOEXEC) == 0);
    io.terminal = 1;
    io.stdout_kind = CTRD_IO_FD;
    io.stdout_fd = out[1];
    CHECK(run("test -t 1 && echo terminal; echo both >&2", &io) == 0);
    close(out[1]);
    CHECK(strcmp(read_all(out[0]), "terminal\r\nboth\r\n") == 0);
}

static void paths(void)
{
    ctrd_io_t io = CTRD_IO_INIT;
    char *path = test_path("output");
    char uri[512];

    snprintf(uri, sizeof uri, "file://%s", path);
    io.stdout_kind = CTRD_IO_PATH;
    io.stdout_path = uri;
    CHECK(run("echo to a file", &io) == 0);
    CHECK(strcmp(read_all(open(path, O_RDONLY | O_CLOEXEC)), "to a file\n") == 0);
    unlink(path);
    free(path);
}

int main(void)
{
    client = test_client();
    image = test_image(client);
    descriptors();
    given_away();
    given_away_in_vain();
    terminal();
    paths();
    ctrd_client_free(client);
    return 0;
}
