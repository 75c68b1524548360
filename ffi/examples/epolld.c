/*
 * epolld [-f] SOCKET NAMESPACE DIRECTORY LIST
 *
 * A daemon of one thread that keeps the containers of a list running. It never waits in the library: it
 * submits every call that may block. The completions come through a queue, whose descriptor is in the
 * daemon's epoll set beside its signals, its timer and its control socket.
 *
 * SOCKET is containerd's. With -f the daemon stays in the foreground, and logs to standard error.
 * DIRECTORY, an absolute path, has the daemon's files: epolld.pid, epolld.sock, epolld.log, the output
 * of each container in ID.log, and ID.stopped for each container that is to stay stopped.
 *
 * LIST, an absolute path, has a line for each container: ID IMAGE POLICY COMMAND. The image's /bin/sh
 * runs the command. The policy says whether the container is started again when it has ended: "always",
 * "never", "on-failure" or "on-failure:MAX". SIGHUP reads the list again; SIGTERM and SIGINT do what
 * "quit" does.
 *
 * The control socket takes lines. The last line of each answer begins with "ok" or "error":
 *
 *   list          a line for each container
 *   status ID     the same line for one container
 *   stop ID       destroy a container, and keep it stopped until it is started
 *   start ID      start a container, also if its policy does not
 *   pull IMAGE    pull an image; before the last line come lines of "progress", with the bytes that
 *                 have arrived and those that are known to come
 *   quit          end the daemon; the containers run on
 *   quit --stop   destroy all containers, then end the daemon
 *
 * A daemon takes over the containers of the one before it, however that one ended.
 */
#define _GNU_SOURCE /* accept4(), pipe2() */

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <ctrd.h>

/* The library labels our containers with the owner's name. For the next daemon we add labels that say
 * what the container runs, and how often it was started again. */
#define OWNER "epolld"
#define OWN_CONTAINERS "labels.\"io.ctrd.owner\"==\"" OWNER "\"" /* a filter */
#define LABEL_WHAT "epolld.what"
#define LABEL_RESTARTS "epolld.restarts"

enum {
    LINE_SIZE = 1024,         /* of the list, or of a request */
    ANSWER_SIZE = 128 * 1024, /* what a peer may leave unread before it is disconnected */
    MAX_PEERS = 64,
    MAX_OPERATIONS = 1024,    /* the library accepts so many calls of a client at once */
    MESSAGES_AT_ONCE = 64,    /* then the other descriptors have their turn */
    FIRST_DELAY = 100,        /* ms before something is tried again; each delay doubles */
    LAST_DELAY = 10000,
    STABLE = 10000,           /* ms after which a container that ends has the first delay again */
    SETTLE = 3000,            /* ms that containerd may be busy with what a dead daemon has begun */
    OPEN_TIMEOUT = 2000,      /* short, for a shutdown waits for it */
    CLOSE_TIMEOUT = 60000     /* long, for it waits for the calls that run */
};

/* A descriptor in the epoll set. What it belongs to has this as its first member. */
struct source {
    int fd;
    void (*ready)(struct source *source, uint32_t events);
};

/* A container. decide() compares what is wanted with what there is. */
struct service {
    struct service *next;
    char id[80], image[256], what[LINE_SIZE]; /* what: image, blank, command */
    enum { NEVER, ON_FAILURE, ALWAYS } policy;
    unsigned long max_restarts;
    enum { RUN, STOPPED, GONE } wanted; /* GONE: the list does not have it */
    enum state {
        UNKNOWN, /* we have to look */
        ABSENT,
        FOUND,   /* it exists, and this client does not watch it yet */
        REMNANT, /* it exists, never ran, and cannot be started */
        CREATED, /* it was never started */
        RUNNING,
        ENDED
    } state;
    enum { PRESENT, MISSING, PULLED } image_is; /* as far as we know */
    int listed;  /* while the list is read */
    int replace; /* it is to be destroyed and created again: the list has changed, or a peer asked */
    struct operation *operation; /* in flight: never more than one */
    uint64_t asker; /* the peer that waits for a start or a stop; 0: none */
    uint64_t generation; /* of the container that has the id; none before or after it has the same */
    uint32_t pid, exit_code;
    int exit_known;
    unsigned long restarts;
    int64_t started_at, retry_at, delay; /* ms */
    char error[256]; /* of the last operation */
};

/* A submitted call. Its messages have its tag. */
struct operation {
    uint64_t tag; /* 0: this place of the table is free */
    enum kind { NOTHING, OPEN, LIST, LOOK, RECOVER, PULL, CREATE, START, DESTROY, CLOSE } kind;
    struct service *service; /* NULL: it is about none */
    uint64_t asker;          /* the peer that waits for it; 0: none */
};

/* A connection to the control socket. */
struct peer {
    struct source source;
    struct peer *next;
    uint64_t number; /* operations refer to it by its number, because it may go at any time */
    int waits;       /* an operation will answer */
    int at_end;      /* it sends nothing more */
    size_t in_len, out_len;
    char in[LINE_SIZE], out[ANSWER_SIZE];
};

static const char *const state_names[] = {"unknown", "absent",  "found", "remnant",
                                          "created", "running", "ended"};
static const char *const kind_names[] = {"-", "open",   "list",  "look",    "recover", "pull",
                                         "create", "start", "destroy", "close"};

static const char *address, *namespace_name, *directory, *list_path;

/* EMPTYING: containers are being destroyed; CLOSING: the client is being closed. */
static enum { WORKING, EMPTYING, CLOSING, CLOSED } phase;
static int64_t taken_over; /* when we learnt which containers there are; 0: not yet */
static uint64_t quitter;   /* the peer that asked us to end */
static int close_failures;
/* When to try again, in ms; 0: never. client_at: to open the client, or to list the containers. */
static int64_t client_at, accept_at, client_delay = FIRST_DELAY;

static struct service *services;
static struct peer *peers;
static struct operation operations[MAX_OPERATIONS];
static int all_in_flight, in_flight[CLOSE + 1], peers_len; /* by kind */

static ctrd_queue_t *queue;
static ctrd_client_t *client;
static ctrd_subscription_t *subscription;
static ctrd_cancel_t *end_of_pulls; /* a shutdown does not wait for pulls */

static int epoll_fd, pid_fd;
static struct source signals, timer, listener, messages;

static void decide_all(void);
static void finish(struct operation *operation, ctrd_message_t *message, ctrd_status_t status,
                   const ctrd_error_t *err);

/* Helpers -------------------------------------------------------------------------------------- */

__attribute__((format(printf, 1, 2))) static void say(const char *format, ...)
{
    struct timespec now;
    va_list arguments;

    clock_gettime(CLOCK_REALTIME, &now);
    fprintf(stderr, "%lld.%03ld ", (long long)now.tv_sec, now.tv_nsec / 1000000);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
}

/* The containers run on, and the next daemon takes them over. */
__attribute__((noreturn)) static void die(const char *step)
{
    say("could not %s: %s", step, strerror(errno));
    exit(1);
}

static int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* A path in our directory. It is valid until the next call. */
static const char *path_of(const char *name, const char *suffix)
{
    static char path[PATH_MAX];

    snprintf(path, sizeof path, "%s/%s%s", directory, name, suffix);
    return path;
}

/* Sets when to try again, and doubles the delay. */
static void back_off(int64_t *at, int64_t *delay)
{
    *at = now_ms() + *delay;
    *delay = *delay * 2 < LAST_DELAY ? *delay * 2 : LAST_DELAY;
}

static void set_events(int operation, struct source *source, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = source};

    if (epoll_ctl(epoll_fd, operation, source->fd, &event) < 0)
        die("change the epoll set");
}

static void add_source(struct source *source, int fd, void (*ready)(struct source *, uint32_t))
{
    if (fd < 0)
        die("make a descriptor");
    source->fd = fd;
    source->ready = ready;
    set_events(EPOLL_CTL_ADD, source, EPOLLIN);
}

/* Answers -------------------------------------------------------------------------------------- */

/* Adds a line to the answer of a peer, if it is still there. */
__attribute__((format(printf, 2, 3))) static void answer(uint64_t number, const char *format, ...)
{
    struct peer *peer = peers;
    size_t room;
    va_list arguments;
    int len;

    while (peer != NULL && peer->number != number)
        peer = peer->next;
    if (peer == NULL)
        return;
    room = sizeof peer->out - peer->out_len;
    va_start(arguments, format);
    len = vsnprintf(peer->out + peer->out_len, room, format, arguments);
    va_end(arguments);
    if (len < 0 || (size_t)len >= room) {
        /* The peer does not read. Its next event frees it, for our caller may still use it. */
        shutdown(peer->source.fd, SHUT_RDWR);
        return;
    }
    peer->out_len += (size_t)len;
    peer->out[peer->out_len++] = '\n';
    if (strncmp(format, "progress", 8) != 0)
        peer->waits = 0;
    set_events(EPOLL_CTL_MOD, &peer->source, EPOLLOUT);
}

/* Submitting ----------------------------------------------------------------------------------- */

static struct operation *find_operation(uint64_t tag)
{
    struct operation *operation = &operations[tag % MAX_OPERATIONS];

    return tag != 0 && operation->tag == tag ? operation : NULL;
}

static ctrd_status_t submit_open(const ctrd_call_t *call, ctrd_error_t **err)
{
    ctrd_client_config_t config = CTRD_CLIENT_CONFIG_INIT;

    config.address = address;
    config.namespace_name = namespace_name;
    config.owner = OWNER;
    config.state_dir = path_of("streams", "");
    return ctrd_client_open(&config, call, NULL, err);
}

static ctrd_status_t submit_create(const struct service *service, const ctrd_call_t *call,
                                   ctrd_error_t **err)
{
    const char *args[] = {"/bin/sh", "-c", service->what + strlen(service->image) + 1};
    const char *keys[] = {LABEL_WHAT, LABEL_RESTARTS}, *values[2];
    ctrd_container_config_t config = CTRD_CONTAINER_CONFIG_INIT;
    ctrd_io_t io = CTRD_IO_INIT;
    char output[PATH_MAX + 8], restarts[32];

    config.id = service->id;
    config.image = service->image;
    config.args = args;
    config.args_len = 3;
    snprintf(restarts, sizeof restarts, "%lu", service->restarts);
    values[0] = service->what;
    values[1] = restarts;
    config.label_keys = keys;
    config.label_values = values;
    config.labels_len = 2;
    /* The shim itself writes the output, standard error too: it needs no daemon, and no recovery. */
    snprintf(output, sizeof output, "file://%s", path_of(service->id, ".log"));
    io.stdout_kind = CTRD_IO_PATH;
    io.stdout_path = output;
    return ctrd_create_container(client, &config, &io, call, NULL, err);
}

/* Submits a call, and notes it in the table. Every call that may block is made here. The library copies
 * what it is given. */
static void submit(enum kind kind, struct service *service, const char *image, uint64_t asker)
{
    static uint64_t serial;
    ctrd_call_t call = CTRD_CALL_INIT;
    ctrd_pull_config_t pull = CTRD_PULL_CONFIG_INIT;
    const char *filter = OWN_CONTAINERS;
    ctrd_error_t *err = NULL;
    ctrd_status_t status = CTRD_OK;
    struct operation *operation;
    const char *id = service != NULL ? service->id : NULL;

    if (all_in_flight == MAX_OPERATIONS) {
        if (service != NULL)
            back_off(&service->retry_at, &service->delay);
        answer(asker, "error too many operations are in flight");
        return;
    }
    /* A tag says its place in the table, and no two operations have the same. */
    do
        operation = &operations[++serial % MAX_OPERATIONS];
    while (operation->tag != 0);
    operation->tag = serial;
    operation->kind = kind;
    operation->service = service;
    operation->asker = asker;
    all_in_flight++;
    in_flight[kind]++;
    if (service != NULL)
        service->operation = operation;

    call.queue = queue;
    call.tag = operation->tag;
    call.timeout_ms = kind == OPEN ? OPEN_TIMEOUT : kind == CLOSE ? CLOSE_TIMEOUT : 0;
    call.cancel = kind == PULL ? end_of_pulls : NULL;
    pull.reference = image;
    switch (kind) {
    case NOTHING: break;
    case OPEN: status = submit_open(&call, &err); break;
    case LIST: status = ctrd_list_containers(client, &filter, 1, &call, NULL, &err); break;
    case LOOK: status = ctrd_get_container(client, id, &call, NULL, &err); break;
    case RECOVER: status = ctrd_recover_container(client, id, NULL, &call, NULL, &err); break;
    case PULL: status = ctrd_pull_image(client, &pull, &call, NULL, &err); break;
    case CREATE: status = submit_create(service, &call, &err); break;
    case START: status = ctrd_start_container(client, id, &call, NULL, &err); break;
    case DESTROY: status = ctrd_destroy_container(client, id, NULL, &call, NULL, &err); break;
    case CLOSE: status = ctrd_client_close(client, &call, &err); break;
    }
    /* A call that was refused sends no message. It is treated like one that has failed. */
    if (status != CTRD_OK)
        finish(operation, NULL, status, err);
    ctrd_error_free(err);
}

/* Containers ----------------------------------------------------------------------------------- */

static struct service *find_service(const char *id)
{
    struct service *service = services;

    while (service != NULL && strcmp(service->id, id) != 0)
        service = service->next;
    return service;
}

static struct service *add_service(const char *id)
{
    struct service *service = calloc(1, sizeof *service);

    if (service == NULL)
        die("allocate memory");
    snprintf(service->id, sizeof service->id, "%s", id);
    service->wanted = GONE;
    service->delay = FIRST_DELAY;
    service->next = services;
    return services = service;
}

static void free_service(struct service *service)
{
    struct service **link = &services;

    while (*link != service)
        link = &(*link)->next;
    *link = service->next;
    free(service);
}

static void failed(struct service *service, enum kind kind, const char *text)
{
    snprintf(service->error, sizeof service->error, "%s", text);
    back_off(&service->retry_at, &service->delay);
    say("%s: could not %s: %s", service->id, kind_names[kind], text);
    answer(service->asker, "error %s", text);
    service->asker = 0;
}

static int restarts(const struct service *service)
{
    int is_failure = !service->exit_known || service->exit_code != 0;

    return service->policy == ALWAYS
           || (service->policy == ON_FAILURE && is_failure
               && service->restarts < service->max_restarts);
}

/* Begins the next operation that brings a container to what is wanted. It may free the container. */
static void decide(struct service *service)
{
    int runs = service->wanted == RUN && !service->replace;
    enum kind next = NOTHING;

    if (taken_over == 0 || phase > EMPTYING || service->operation != NULL)
        return;
    if (service->state == (runs ? RUNNING : ABSENT)) {
        answer(service->asker, "ok");
        service->asker = 0;
    }
    if (service->state == ABSENT && service->wanted == GONE) {
        free_service(service);
        return;
    }
    if (service->retry_at > now_ms())
        return;
    service->retry_at = 0;
    switch (service->state) {
    case UNKNOWN: next = LOOK; break;
    case FOUND: next = RECOVER; break;
    case REMNANT: next = DESTROY; break;
    case CREATED: next = runs ? START : DESTROY; break;
    case RUNNING: next = runs ? NOTHING : DESTROY; break;
    case ENDED: next = runs && !restarts(service) ? NOTHING : DESTROY; break;
    case ABSENT: next = !runs ? NOTHING : service->image_is == MISSING ? PULL : CREATE; break;
    }
    if (next != NOTHING)
        submit(next, service, service->image, 0);
}

static void decide_all(void)
{
    for (struct service *service = services, *next; service != NULL; service = next) {
        next = service->next; /* decide() may free this one */
        decide(service);
    }
}

/* Completions and exits ------------------------------------------------------------------------ */

static void client_is_open(ctrd_message_t *message)
{
    ctrd_subscription_config_t config = CTRD_SUBSCRIPTION_CONFIG_INIT;
    ctrd_error_t *err = NULL;

    /* Before a container is recovered or created, so that no exit is missed. The call is not submitted:
     * only a subscription to events blocks. */
    config.kinds = CTRD_KIND_EXIT;
    if (ctrd_message_take_client(message, &client, &err)
        || ctrd_queue_subscribe(queue, client, &config, NULL, &subscription, &err)) {
        say("could not use the client: %s", ctrd_error_text(err));
        exit(1);
    }
    submit(LIST, NULL, NULL, 0);
}

/* Notes what containerd knows of a container that this client does not watch yet. */
static void learn(struct service *service, const ctrd_container_info_t *info)
{
    const char *what = ctrd_container_info_label(info, LABEL_WHAT);
    const char *number = ctrd_container_info_label(info, LABEL_RESTARTS);

    service->state = FOUND;
    service->generation = ctrd_container_info_generation(info);
    service->replace = what == NULL || strcmp(what, service->what) != 0;
    service->restarts = number != NULL ? strtoul(number, NULL, 10) : 0;
}

static void take_over(const ctrd_container_info_list_t *list)
{
    struct service *service;

    for (size_t i = 0; i < ctrd_container_info_list_len(list); i++) {
        const ctrd_container_info_t *info = ctrd_container_info_list_get(list, i);
        const char *id = ctrd_container_info_id(info);

        /* One that our list does not have is taken over to be destroyed. */
        service = find_service(id);
        learn(service != NULL ? service : add_service(id), info);
    }
    for (service = services; service != NULL; service = service->next)
        if (service->state == UNKNOWN)
            service->state = ABSENT;
    say("%lu containers to take over", (unsigned long)ctrd_container_info_list_len(list));
    taken_over = now_ms();
    decide_all();
}

static void looked(struct service *service, ctrd_message_t *message)
{
    ctrd_container_info_t *info = NULL;

    if (ctrd_message_take_container_info(message, &info, NULL) != CTRD_OK)
        return;
    if (strcmp(ctrd_container_info_owner(info), OWNER) == 0)
        learn(service, info);
    else
        failed(service, LOOK, "another program has a container of this id");
    ctrd_container_info_free(info);
}

/* This client watches a container now. */
static void recovered(struct service *service, ctrd_message_t *message)
{
    ctrd_recovery_t *recovery = NULL;

    if (ctrd_message_take_recovery(message, &recovery, NULL) != CTRD_OK)
        return;
    service->pid = ctrd_recovery_pid(recovery);
    service->started_at = now_ms();
    /* The message that it has ended may have come first. */
    if (service->state == FOUND) {
        service->exit_known = ctrd_recovery_exit_code(recovery, &service->exit_code);
        switch (ctrd_recovery_state(recovery)) {
        case CTRD_RECOVERY_CREATED: service->state = CREATED; break;
        case CTRD_RECOVERY_ENDED: service->state = ENDED; break;
        default: service->state = RUNNING; break;
        }
    }
    ctrd_recovery_free(recovery);
}

/* An operation on a container is over. */
static void operation_is_over(struct service *service, enum kind kind, ctrd_message_t *message,
                              ctrd_status_t status, const ctrd_error_t *err)
{
    uint32_t reason = ctrd_error_reason(err);
    int no_image = reason == CTRD_REASON_NO_IMAGE || reason == CTRD_REASON_NO_CONTENT;

    if (kind == DESTROY && (status == CTRD_OK || reason == CTRD_REASON_NO_CONTAINER)) {
        service->restarts = service->state == ENDED && !service->replace
                                ? service->restarts + 1 : 0;
        service->state = ABSENT;
        service->replace = 0;
        service->pid = 0;
    } else if ((kind == LOOK || kind == RECOVER) && reason == CTRD_REASON_NO_CONTAINER) {
        service->state = ABSENT;
    } else if (kind == RECOVER && reason == CTRD_REASON_NO_TASK) {
        /* The daemon before us may have died while it created the container. containerd may still be at
         * it, and what is destroyed meanwhile can leave files that block the id. So we look again. */
        service->state = now_ms() < taken_over + SETTLE ? UNKNOWN : REMNANT;
        service->retry_at = service->state == UNKNOWN ? now_ms() + FIRST_DELAY : 0;
    } else if (kind == CREATE && no_image && service->image_is == PRESENT) {
        service->image_is = MISSING;
    } else if (status != CTRD_OK) {
        /* A part of the change may be made. We repeat a destroy; after the others we look. */
        if (kind == DESTROY)
            service->replace |= service->state == RUNNING;
        else if (kind == CREATE || kind == START)
            service->state = UNKNOWN;
        service->image_is = PRESENT;
        failed(service, kind, ctrd_error_text(err));
    } else {
        switch (kind) {
        case LOOK:
            looked(service, message);
            break;
        case PULL:
            service->image_is = PULLED;
            break;
        case RECOVER:
            recovered(service, message);
            break;
        default: /* CREATE, START: the message of the exit comes after this one */
            service->started_at = now_ms();
            service->state = RUNNING;
            service->pid = ctrd_message_pid(message);
            service->generation = ctrd_message_generation(message);
            service->error[0] = '\0';
            service->image_is = PRESENT;
            say("%s: runs as process %u", service->id, (unsigned)service->pid);
            break;
        }
    }
    decide(service);
}

/* A submitted call is over. message is NULL if it was refused. */
static void finish(struct operation *operation, ctrd_message_t *message, ctrd_status_t status,
                   const ctrd_error_t *err)
{
    struct operation over = *operation;
    ctrd_container_info_list_t *list = NULL;

    /* Its place is free before anything else is submitted. */
    operation->tag = 0;
    all_in_flight--;
    in_flight[over.kind]--;
    if (over.service != NULL)
        over.service->operation = NULL;
    if (status != CTRD_OK && over.service == NULL)
        say("could not %s: %s", kind_names[over.kind], ctrd_error_text(err));
    switch (over.kind) {
    case OPEN:
        if (status == CTRD_OK)
            client_is_open(message);
        else
            back_off(&client_at, &client_delay);
        break;
    case LIST:
        if (status == CTRD_OK && ctrd_message_take_container_info_list(message, &list, NULL) == 0)
            take_over(list);
        else
            back_off(&client_at, &client_delay);
        ctrd_container_info_list_free(list);
        break;
    case CLOSE:
        if (status == CTRD_OK || ++close_failures == 3)
            phase = CLOSED;
        break;
    default:
        if (over.service == NULL) /* a pull that a peer asked for */
            answer(over.asker, status == CTRD_OK ? "ok" : "error %s", ctrd_error_text(err));
        else
            operation_is_over(over.service, over.kind, message, status, err);
        break;
    }
}

static void container_has_ended(const ctrd_message_t *message)
{
    struct service *service = find_service(ctrd_message_container_id(message));

    if (service == NULL || service->state == ABSENT || service->state == UNKNOWN)
        return;
    /* The message may be about an earlier container of the same id. */
    if (ctrd_message_generation(message) != service->generation)
        return;
    service->state = ENDED;
    service->exit_known = ctrd_message_exit_code(message, &service->exit_code);
    if (service->exit_known)
        say("%s: ended with %u", service->id, (unsigned)service->exit_code);
    else
        say("%s: ended: %s", service->id, ctrd_error_text(ctrd_message_error(message)));
    if (now_ms() - service->started_at >= STABLE)
        service->delay = FIRST_DELAY;
    back_off(&service->retry_at, &service->delay);
    decide(service);
}

static void pull_made_progress(const ctrd_message_t *message)
{
    const struct operation *operation = find_operation(ctrd_message_tag(message));
    const ctrd_progress_list_t *list = ctrd_message_progress(message);
    uint64_t arrived = 0, total = 0;

    for (size_t i = 0; i < ctrd_progress_list_len(list); i++) {
        const ctrd_progress_t *item = ctrd_progress_list_get(list, i);

        arrived += ctrd_progress_offset(item);
        total += ctrd_progress_total(item);
    }
    if (operation != NULL)
        answer(operation->asker, "progress %llu %llu", (unsigned long long)arrived,
               (unsigned long long)total);
}

static void on_messages(struct source *source, uint32_t events)
{
    ctrd_message_t *message = NULL;
    struct operation *operation;

    (void)source, (void)events;
    /* The descriptor stays readable while the queue holds more. */
    for (int i = 0; i < MESSAGES_AT_ONCE && !ctrd_queue_try_next(queue, &message, NULL); i++) {
        switch (ctrd_message_kind(message)) {
        case CTRD_KIND_DONE:
            operation = find_operation(ctrd_message_tag(message));
            if (operation != NULL)
                finish(operation, message, ctrd_message_status(message),
                       ctrd_message_error(message));
            break;
        case CTRD_KIND_EXIT:
            container_has_ended(message);
            break;
        case CTRD_KIND_PROGRESS:
            pull_made_progress(message);
            break;
        }
        ctrd_message_free(message); /* with a result that was not taken */
    }
}

/* The list ------------------------------------------------------------------------------------- */

static int read_policy(const char *text, struct service *service)
{
    char end;

    service->max_restarts = ULONG_MAX;
    service->policy = text[0] == 'n' ? NEVER : text[0] == 'a' ? ALWAYS : ON_FAILURE;
    return strcmp(text, "never") == 0 || strcmp(text, "always") == 0
           || strcmp(text, "on-failure") == 0
           || sscanf(text, "on-failure:%lu%c", &service->max_restarts, &end) == 1;
}

/* Reads a line. With check it only looks for errors. Returns what is wrong with the line, or NULL. */
static const char *read_line(char *line, int check)
{
    char id[80], image[256], policy[32], what[LINE_SIZE];
    struct service read, *service;
    int command = 0;

    line[strcspn(line, "\n")] = '\0';
    if (line[strspn(line, " \t")] == '\0' || line[0] == '#')
        return NULL;
    if (sscanf(line, "%79s %255s %31s %n", id, image, policy, &command) < 3 || line[command] == '\0')
        return "it is not ID IMAGE POLICY COMMAND";
    if (id[0] == '.' || strchr(id, '/') != NULL)
        return "the id is invalid"; /* it becomes a part of file names */
    if (!read_policy(policy, &read))
        return "the policy is invalid";
    if (check)
        return NULL;
    service = find_service(id);
    if (service == NULL)
        service = add_service(id);
    else if (service->listed)
        return "the id is used twice";
    service->listed = 1;
    service->policy = read.policy;
    service->max_restarts = read.max_restarts;
    service->wanted = access(path_of(id, ".stopped"), F_OK) == 0 ? STOPPED : RUN;
    snprintf(what, sizeof what, "%s %s", image, line + command);
    if (strcmp(service->what, what) != 0) {
        strcpy(service->image, image);
        strcpy(service->what, what);
        service->image_is = PRESENT;
        service->replace = service->state > ABSENT;
    }
    return NULL;
}

/* Reads the list twice, so that a wrong line changes nothing. Returns 0, or -1 if it is wrong. */
static int read_list(void)
{
    FILE *file = fopen(list_path, "re");
    char line[LINE_SIZE];
    const char *wrong = file == NULL ? strerror(errno) : NULL;
    int check, number = 0;

    for (struct service *service = services; service != NULL; service = service->next)
        service->listed = 0;
    for (check = 1; check >= 0 && wrong == NULL; check--) {
        rewind(file);
        for (number = 1; wrong == NULL && fgets(line, sizeof line, file) != NULL; number++)
            wrong = strlen(line) == sizeof line - 1 ? "it is too long" : read_line(line, check);
    }
    if (file != NULL)
        fclose(file);
    if (wrong != NULL) {
        say("%s:%d: %s", list_path, number - 1, wrong);
        return -1;
    }
    for (struct service *service = services; service != NULL; service = service->next)
        if (!service->listed)
            service->wanted = GONE;
    decide_all();
    return 0;
}

/* Requests ------------------------------------------------------------------------------------- */

static void describe(uint64_t asker, const struct service *service)
{
    static const char *const wanted_names[] = {"run", "stopped", "gone"};
    char code[16] = "-";

    if (service->state == ENDED)
        snprintf(code, sizeof code, service->exit_known ? "%u" : "?", (unsigned)service->exit_code);
    answer(asker, "%s %s wanted=%s doing=%s pid=%u restarts=%lu exit=%s error=%s", service->id,
           state_names[service->state], wanted_names[service->wanted],
           kind_names[service->operation != NULL ? service->operation->kind : NOTHING],
           (unsigned)service->pid, service->restarts, code, service->error);
}

/* Starts or stops a container. A file keeps it stopped, also when another daemon follows this one. */
static void want(struct service *service, int stopped, struct peer *peer)
{
    const char *path = path_of(service->id, ".stopped");
    int fd = stopped ? open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0640) : unlink(path);

    if (stopped && fd >= 0)
        close(fd);
    service->wanted = stopped ? STOPPED : RUN;
    service->replace |= service->state == ENDED;
    service->retry_at = 0;
    service->delay = FIRST_DELAY;
    service->asker = peer->number;
    peer->waits = 1;
    decide(service);
}

static void end(int destroy_all)
{
    /* A second request does not wait for the containers. */
    phase = destroy_all && phase == WORKING ? EMPTYING : CLOSING;
    ctrd_cancel_fire(end_of_pulls);
    if (phase == CLOSING)
        return;
    for (struct service *service = services; service != NULL; service = service->next)
        service->wanted = GONE;
    decide_all();
}

static void serve(struct peer *peer, const char *line)
{
    char verb[16] = "", argument[512] = "", more;
    int words = sscanf(line, "%15s %511s %c", verb, argument, &more);
    struct service *service = find_service(argument);
    int stop = strcmp(verb, "stop") == 0;

    if (strcmp(verb, "list") == 0 && words == 1) {
        for (service = services; service != NULL; service = service->next)
            describe(peer->number, service);
        answer(peer->number, "ok");
    } else if (strcmp(verb, "pull") == 0 && words == 2 && client != NULL && phase == WORKING) {
        peer->waits = 1;
        submit(PULL, NULL, argument, peer->number);
    } else if (strcmp(verb, "quit") == 0 && phase == WORKING
               && (words == 1 || (words == 2 && strcmp(argument, "--stop") == 0))) {
        quitter = peer->number;
        peer->waits = 1;
        end(words == 2);
    } else if (strcmp(verb, "status") == 0 && service != NULL) {
        describe(peer->number, service);
        answer(peer->number, "ok");
    } else if ((stop || strcmp(verb, "start") == 0) && service != NULL && phase == WORKING
               && service->asker == 0 && service->wanted != GONE) {
        want(service, stop, peer);
    } else {
        answer(peer->number, "error this cannot be done, or not now: %.64s", line);
    }
}

/* The control socket --------------------------------------------------------------------------- */

static void close_peer(struct peer *peer)
{
    struct peer **link = &peers;

    while (*link != peer)
        link = &(*link)->next;
    *link = peer->next;
    peers_len--;
    close(peer->source.fd);
    free(peer);
}

/* Sends what the socket takes. Returns 0, or -1 if the peer has gone. */
static int flush(struct peer *peer)
{
    ssize_t sent = send(peer->source.fd, peer->out, peer->out_len, MSG_NOSIGNAL);

    if (sent < 0)
        return errno == EAGAIN ? 0 : -1;
    peer->out_len -= (size_t)sent;
    memmove(peer->out, peer->out + sent, peer->out_len);
    return 0;
}

/* Reads requests and sends answers: one request at a time, and none before the answer to the last one is
 * sent. So the buffers are bounded. */
static void on_peer(struct source *source, uint32_t events)
{
    struct peer *peer = (struct peer *)source;
    char line[LINE_SIZE], *newline;
    int is_idle = !peer->waits && peer->out_len == 0;

    if (is_idle && !peer->at_end) {
        ssize_t got = recv(source->fd, peer->in + peer->in_len, sizeof peer->in - peer->in_len, 0);

        if (got > 0)
            peer->in_len += (size_t)got;
        else if (got == 0 || errno != EAGAIN)
            peer->at_end = 1;
    } else if (events & (EPOLLHUP | EPOLLERR)) {
        close_peer(peer);
        return;
    }
    for (;;) {
        if (peer->out_len > 0 && flush(peer) != 0) {
            close_peer(peer);
            return;
        }
        is_idle = !peer->waits && peer->out_len == 0;
        newline = memchr(peer->in, '\n', peer->in_len);
        if (!is_idle || newline == NULL)
            break;
        *newline = '\0';
        strcpy(line, peer->in);
        peer->in_len -= (size_t)(newline + 1 - peer->in);
        memmove(peer->in, newline + 1, peer->in_len);
        serve(peer, line);
    }
    if (is_idle && (peer->at_end || peer->in_len == sizeof peer->in))
        close_peer(peer); /* it has said all, or sends a line that is too long */
    else
        set_events(EPOLL_CTL_MOD, source, is_idle ? EPOLLIN : peer->out_len > 0 ? EPOLLOUT : 0);
}

static void on_connection(struct source *source, uint32_t events)
{
    static uint64_t number;
    struct peer *peer;
    int fd = -1;

    (void)events;
    if (peers_len < MAX_PEERS)
        fd = accept4(source->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
        /* There are too many, or no descriptor is left. The timer tries again. */
        set_events(EPOLL_CTL_MOD, source, 0);
        accept_at = now_ms() + FIRST_DELAY;
        return;
    }
    peer = calloc(1, sizeof *peer);
    if (peer == NULL)
        die("allocate memory");
    peer->number = ++number;
    peer->next = peers;
    peers = peer;
    peers_len++;
    add_source(&peer->source, fd, on_peer);
}

/* The timer, signals, and the end -------------------------------------------------------------- */

/* Sets the timer to the first of what is to be tried again. */
static void set_timer(void)
{
    static int64_t set;
    int64_t first = client_at;

    if (accept_at != 0 && (first == 0 || accept_at < first))
        first = accept_at;
    for (const struct service *service = services; service != NULL; service = service->next)
        if (service->operation == NULL && service->retry_at != 0
            && (first == 0 || service->retry_at < first))
            first = service->retry_at;
    if (first == set)
        return;
    set = first;
    struct itimerspec spec = {.it_value = {first / 1000, first % 1000 * 1000000}};
    if (timerfd_settime(timer.fd, TFD_TIMER_ABSTIME, &spec, NULL) < 0)
        die("set the timer");
}

static int is_due(int64_t *at)
{
    if (*at == 0 || *at > now_ms())
        return 0;
    *at = 0;
    return 1;
}

static void on_timer(struct source *source, uint32_t events)
{
    uint64_t count;

    (void)events;
    if (read(source->fd, &count, sizeof count) < 0)
        return;
    if (is_due(&accept_at))
        set_events(EPOLL_CTL_MOD, &listener, EPOLLIN);
    if (is_due(&client_at) && phase < CLOSING)
        submit(client == NULL ? OPEN : LIST, NULL, NULL, 0);
    decide_all();
}

static void on_signal(struct source *source, uint32_t events)
{
    struct signalfd_siginfo info;

    (void)events;
    if (read(source->fd, &info, sizeof info) != (ssize_t)sizeof info)
        return;
    if (info.ssi_signo != SIGHUP)
        end(0);
    else if (phase == WORKING && read_list() == 0)
        say("the list was read again");
}

/* Takes the next step of the end, if that is possible now. */
static void step_towards_the_end(void)
{
    if (phase == EMPTYING && taken_over != 0 && services == NULL)
        phase = CLOSING;
    if (phase != CLOSING || in_flight[OPEN] || in_flight[CLOSE])
        return;
    if (client != NULL)
        submit(CLOSE, NULL, NULL, 0);
    else
        phase = CLOSED;
}

/* The process ---------------------------------------------------------------------------------- */

/* Forks twice. Returns a descriptor in the daemon: the first process ends with 0 when the daemon writes to
 * it, and with 1 if the daemon ends before that. */
static int become_a_daemon(void)
{
    int ready[2];
    char byte;
    pid_t child = -1;

    if (pipe2(ready, O_CLOEXEC) < 0 || (child = fork()) < 0)
        die("fork");
    if (child > 0) {
        close(ready[1]);
        _exit(read(ready[0], &byte, 1) == 1 ? 0 : 1);
    }
    close(ready[0]);
    /* The new session has no terminal, and only its leader, which ends, could get one. */
    if (setsid() < 0 || (child = fork()) < 0)
        die("fork");
    if (child > 0)
        _exit(0);
    if (chdir("/") < 0)
        die("change the directory");
    umask(027);
    return ready[1];
}

/* Until now, standard error was that of the first process. */
static void leave_the_terminal(int ready)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    int log = open(path_of("epolld", ".log"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);

    if (null < 0 || log < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(log, 2) < 0
        || write(ready, "", 1) != 1)
        die("leave the terminal");
    close(null);
    close(log);
    close(ready);
}

/* A directory has one daemon. The lock ends with the process, however that ends. */
static void lock_pid_file(void)
{
    const char *path = path_of("epolld", ".pid");
    struct stat opened, named;

    for (;;) {
        pid_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
        if (pid_fd < 0 || flock(pid_fd, LOCK_EX | LOCK_NB) < 0)
            die("lock the pid file (another daemon may run)");
        /* A daemon that ended may have removed the file between the two calls. */
        if (fstat(pid_fd, &opened) == 0 && stat(path, &named) == 0 && opened.st_ino == named.st_ino)
            break;
        close(pid_fd);
    }
    if (ftruncate(pid_fd, 0) < 0 || dprintf(pid_fd, "%ld\n", (long)getpid()) < 0)
        die("write the pid file");
}

static int listen_at(const char *path)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    int fd;

    if (strlen(path) >= sizeof name.sun_path) {
        say("%s is too long for a socket", path);
        exit(1);
    }
    strcpy(name.sun_path, path);
    unlink(path); /* that of a daemon that was killed: we have its lock */
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&name, sizeof name) < 0 || chmod(path, 0600) < 0
        || listen(fd, MAX_PEERS) < 0)
        die("make the control socket");
    return fd;
}

static void set_up(const sigset_t *mask)
{
    ctrd_error_t *err = NULL;

    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (ctrd_queue_new(NULL, &queue, &err) || ctrd_cancel_new(&end_of_pulls, &err)) {
        say("%s", ctrd_error_text(err));
        exit(1);
    }
    add_source(&signals, signalfd(-1, mask, SFD_NONBLOCK | SFD_CLOEXEC), on_signal);
    add_source(&timer, timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC), on_timer);
    add_source(&listener, listen_at(path_of("epolld", ".sock")), on_connection);
    add_source(&messages, ctrd_queue_fd(queue), on_messages);
}

static void tear_down(void)
{
    /* The client is closed: this waits for nothing. */
    ctrd_subscription_free(subscription);
    ctrd_client_free(client);
    ctrd_queue_free(queue);
    ctrd_cancel_free(end_of_pulls);
    while (services != NULL)
        free_service(services);
    unlink(path_of("epolld", ".sock"));
    unlink(path_of("epolld", ".pid"));
    answer(quitter, "ok");
    while (peers != NULL) {
        flush(peers);
        close_peer(peers);
    }
    close(signals.fd);
    close(timer.fd);
    close(listener.fd);
    close(epoll_fd);
    close(pid_fd);
}

int main(int argc, char **argv)
{
    int foreground = argc > 1 && strcmp(argv[1], "-f") == 0, ready = -1;
    sigset_t mask;

    argv += foreground;
    if (argc - foreground != 5 || argv[3][0] != '/' || argv[4][0] != '/') {
        fprintf(stderr, "usage: epolld [-f] SOCKET NAMESPACE DIRECTORY LIST\n");
        return 2;
    }
    address = argv[1];
    namespace_name = argv[2];
    directory = argv[3];
    list_path = argv[4];
    /* Signals come through a descriptor. The library's threads block all signals by themselves. */
    sigemptyset(&mask);
    sigaddset(&mask, SIGTERM);
    sigaddset(&mask, SIGINT);
    sigaddset(&mask, SIGHUP);
    sigprocmask(SIG_BLOCK, &mask, NULL);
    if (read_list() != 0)
        return 1;
    /* Only the daemon itself uses the library, which does not work across a fork. */
    if (!foreground)
        ready = become_a_daemon();
    lock_pid_file();
    set_up(&mask);
    if (!foreground)
        leave_the_terminal(ready);
    say("started");
    submit(OPEN, NULL, NULL, 0);
    for (;;) {
        struct epoll_event event;
        struct source *source;

        if (phase != WORKING)
            step_towards_the_end();
        if (phase == CLOSED)
            break;
        set_timer();
        /* One event at a time, because it may free the source of another one. */
        if (epoll_wait(epoll_fd, &event, 1, -1) < 0) {
            if (errno != EINTR) /* as when we are stopped and continued */
                die("wait for events");
            continue;
        }
        source = event.data.ptr;
        source->ready(source, event.events);
    }
    tear_down();
    say("ended");
    return 0;
}
