/*
 * ctrd.h - a blocking client of containerd
 *
 * libctrd creates, starts, awaits, recovers and destroys containers, tells of their exits and of
 * other events, pulls images, and handles snapshots, by calling a containerd (1.6 or later). It makes
 * no thread for a container, prints nothing, and leaves the program's signals, environment and
 * working directory alone. It needs Linux.
 *
 *     ctrd_client_t *client = NULL;
 *     ctrd_message_t *exit = NULL;
 *     ctrd_error_t *err = NULL;
 *     ctrd_container_config_t config = CTRD_CONTAINER_CONFIG_INIT;
 *
 *     config.id = "hello";
 *     config.image = "docker.io/library/busybox:latest";
 *     if (ctrd_client_open(NULL, NULL, &client, &err)
 *         || ctrd_create_container(client, &config, NULL, NULL, &err)
 *         || ctrd_probe(client, "hello", NULL, &exit, &err))
 *         fprintf(stderr, "%s\n", ctrd_error_text(err));
 *
 * Errors
 *     A function that can fail returns CTRD_OK (0) or a negative CTRD_E_ value, and takes a
 *     ctrd_error_t ** last, which may be NULL. What it points to is set by every call: to NULL on
 *     success, and on failure to an error that the caller owns. There is no hidden last error.
 *     An output that the caller is to own is set to NULL when the call begins, and stays so where it
 *     fails. Other outputs, numbers and buffers, are written on success alone.
 *
 * Ownership
 *     What a function gives through an output parameter belongs to the caller, who frees it with the
 *     function that is named there. What it returns is borrowed: valid as long as what it was asked
 *     of. Every _free function and every accessor accepts NULL. What is passed in is only borrowed,
 *     for the time of the call. Handles need not be freed in any order.
 *
 * Strings and structs
 *     Strings are UTF-8 and NUL-terminated; other bytes and other encodings are refused. A struct that
 *     is passed in begins with its size; initialise it with its _INIT macro, or with its _init
 *     function, and set what is to differ from the default. The library accepts the structs of an
 *     older header, and those of a later one whose new members are zero. Unknown flags and constants
 *     are refused. An array whose length is 0 is not looked at, and may be NULL.
 *
 * Calls
 *     A function that may block takes a const ctrd_call_t *: timeout, cancel handle, namespace, lease;
 *     NULL is the default, which is bounded, but for ctrd_probe(), ctrd_queue_next(),
 *     ctrd_pull_image(), and ctrd_destroy_container() with a grace period of CTRD_FOREVER. Timeouts
 *     are relative, in milliseconds. CTRD_ERROR_OUTCOME_UNKNOWN says that a change which failed may
 *     have taken place all the same.
 *
 *     Beyond its time a call takes what its function says: to undo what a failure has left half done,
 *     or to remove the files of a private containerd. Callbacks that run inside a call, and hooks
 *     inside ctrd_dispatch(), are the program's own, and nothing ends them. ctrd_dispatch(),
 *     ctrd_client_free() and ctrd_daemon_free() may block and take no ctrd_call_t: a program that
 *     cannot wait for the latter two calls ctrd_client_close() and ctrd_daemon_stop() first.
 *
 * Callbacks
 *     A callback is given as a function, userdata for it, and a function that is called exactly once
 *     when the userdata is not needed any more, also where the call fails. Callbacks must return: no
 *     exception, no longjmp. No lock of the library's is held meanwhile, and every function may be called
 *     from one, but for these, which would wait for themselves and answer CTRD_E_REENTRANT:
 *         in a hook                  ctrd_dispatch()
 *         in a callback of a call    ctrd_client_close() of the same client
 *         in the log hook            every function that can fail
 *     A hook is told of exits or events. It runs on a thread of the library's, with every signal blocked,
 *     or only on a thread of the program's, inside ctrd_dispatch(). Removing it is a barrier: when
 *     ctrd_remove_hook() or ctrd_client_close() has returned CTRD_OK, it does not run and its userdata is
 *     destroyed. From inside a hook they return at once instead, so that two that remove each other do
 *     not wait for each other; the userdata is destroyed when the hook has returned.
 *
 * Events in the program's own loop
 *     ctrd_queue_fd() and ctrd_dispatch_fd() give descriptors for poll, epoll or select: readable while
 *     there is something to fetch from the queue, or to be run by ctrd_dispatch().
 *
 * Processes
 *     After fork() a child cannot use its parent's handles, nor open a client if the parent had:
 *     CTRD_E_FORKED. Freeing them there harms nobody. Open the client after daemonizing. The library's
 *     threads block every signal, and its descriptors are close-on-exec. Once loaded it stays: dlclose()
 *     is allowed, and has no effect.
 *
 * Threads
 *     From any thread, at the same time as any other function on the same handle:
 *         ctrd_error_status ctrd_error_text ctrd_error_message ctrd_error_operation
 *         ctrd_error_subject ctrd_error_step ctrd_error_grpc_code ctrd_error_errno
 *         ctrd_error_flags ctrd_error_cause ctrd_cancel_new ctrd_call_init ctrd_client_config_init
 *         ctrd_client_open ctrd_client_close ctrd_counters_init ctrd_client_counters
 *         ctrd_version_number ctrd_version_string ctrd_has_feature ctrd_version
 *         ctrd_version_server ctrd_version_revision ctrd_message_kind ctrd_message_origin
 *         ctrd_message_seq ctrd_message_namespace ctrd_message_container_id ctrd_message_exec_id
 *         ctrd_message_exit_code ctrd_message_exit_time ctrd_message_error
 *         ctrd_message_start_error ctrd_message_topic ctrd_message_json ctrd_message_event_time
 *         ctrd_message_dropped ctrd_message_ref ctrd_io_init ctrd_container_config_init
 *         ctrd_create_container ctrd_start_container ctrd_probe ctrd_destroy_container
 *         ctrd_container_pid ctrd_container_pids ctrd_recover_container ctrd_recover_all
 *         ctrd_recovery_len ctrd_recovery_id ctrd_recovery_state ctrd_recovery_error
 *         ctrd_add_stop_hook ctrd_add_exit_hook ctrd_add_event_hook ctrd_remove_hook
 *         ctrd_dispatch_fd ctrd_dispatch ctrd_queue_open ctrd_queue_fd ctrd_queue_next
 *         ctrd_pull_config_init ctrd_pull_image ctrd_progress_list_len ctrd_progress_list_get
 *         ctrd_progress_reference ctrd_progress_status ctrd_progress_offset ctrd_progress_total
 *         ctrd_progress_started_at ctrd_progress_updated_at ctrd_get_image ctrd_list_images
 *         ctrd_remove_image ctrd_image_name ctrd_image_id ctrd_image_digest ctrd_image_media_type
 *         ctrd_image_size ctrd_image_labels_len ctrd_image_label_key ctrd_image_label_value
 *         ctrd_image_created_at ctrd_image_updated_at ctrd_image_list_len ctrd_image_list_get
 *         ctrd_get_snapshot ctrd_remove_snapshot ctrd_snapshot_name ctrd_snapshot_parent
 *         ctrd_snapshot_kind ctrd_snapshot_labels_len ctrd_snapshot_label_key
 *         ctrd_snapshot_label_value ctrd_snapshot_created_at ctrd_snapshot_updated_at
 *         ctrd_default_spec ctrd_daemon_config_init ctrd_daemon_start ctrd_daemon_address
 *         ctrd_daemon_pid ctrd_daemon_restarts ctrd_daemon_stop ctrd_set_log_hook
 *     As these, and from a signal handler:
 *         ctrd_cancel_fire
 *     By one thread, when no other uses the handle any more:
 *         ctrd_error_free ctrd_cancel_free ctrd_client_free ctrd_version_free ctrd_message_free
 *         ctrd_recovery_free ctrd_queue_free ctrd_image_free ctrd_image_list_free
 *         ctrd_snapshot_free ctrd_string_free ctrd_daemon_free
 *
 * Generated from ffi/src by "make header". Licence: Apache-2.0.
 */
#ifndef CTRD_H
#define CTRD_H

#include <stddef.h>
#include <stdint.h>

/** The header's version; ctrd_version_number() is the library's. */
#define CTRD_VERSION_MAJOR 0
#define CTRD_VERSION_MINOR 1
#define CTRD_VERSION_PATCH 0
/** The header's version as one number: major * 10000 + minor * 100 + patch. */
#define CTRD_VERSION_NUMBER 100
/** The header's version as text. */
#define CTRD_VERSION_STRING "0.1.0"

/* The compiler warns where the status of a call is not looked at. */
#if defined(__GNUC__)
#define CTRD_CHECK __attribute__((warn_unused_result))
#else
#define CTRD_CHECK
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Status values -----------------------------------------------------------------------------------
 *
 * What every function that can fail returns. Values are appended and never renumbered.
 */

/** The outcome of a call: CTRD_OK, or one of the negative CTRD_E_ values. */
typedef int32_t ctrd_status_t;

/** The call succeeded. */
#define CTRD_OK 0

/** An argument is not acceptable; the message names it. */
#define CTRD_E_INVALID_ARGUMENT (-1)
/** What was named does not exist. */
#define CTRD_E_NOT_FOUND (-2)
/** What was to be made exists already. */
#define CTRD_E_ALREADY_EXISTS (-3)
/** The object is not in a state in which this can be done. */
#define CTRD_E_FAILED_PRECONDITION (-4)
/** The operating system, the server or the registry does not permit it. */
#define CTRD_E_PERMISSION_DENIED (-5)
/** The registry wants other credentials. */
#define CTRD_E_UNAUTHENTICATED (-6)
/** The server cannot be reached, the connection broke, or the server cancelled the call. */
#define CTRD_E_UNAVAILABLE (-7)
/** The call's deadline passed. */
#define CTRD_E_TIMEOUT (-8)
/** The call's cancel handle was fired. */
#define CTRD_E_CANCELLED (-9)
/** Another operation holds the container; the message names it. */
#define CTRD_E_BUSY (-10)
/** Nothing is there yet, and the call was not to wait (CTRD_POLL). */
#define CTRD_E_WOULD_BLOCK (-11)
/** The client was closed. */
#define CTRD_E_CLOSED (-12)
/** The process forked after the handle was made; the child cannot use it. */
#define CTRD_E_FORKED (-13)
/** The call would wait for itself. */
#define CTRD_E_REENTRANT (-14)
/** The server, the kernel or this build cannot do it. */
#define CTRD_E_UNSUPPORTED (-15)
/** A limit was reached: memory, a message's size, a quota. */
#define CTRD_E_RESOURCE_EXHAUSTED (-16)
/** The server gave up because of a conflict. */
#define CTRD_E_ABORTED (-17)
/** A position or number is outside of what there is. */
#define CTRD_E_OUT_OF_RANGE (-18)
/** Data is damaged: a digest or a size does not match. */
#define CTRD_E_DATA_LOSS (-19)
/** A system call failed; ctrd_error_errno() says how. */
#define CTRD_E_IO (-20)
/** The other side answered with something its specification does not allow. */
#define CTRD_E_PROTOCOL (-21)
/** An error in this library. */
#define CTRD_E_INTERNAL (-22)
/** The server failed without saying more: runc, the shim or containerd itself. */
#define CTRD_E_UNKNOWN (-23)
/** A panic in this library was caught. */
#define CTRD_E_PANIC (-24)

/* Errors ------------------------------------------------------------------------------------------
 *
 * What a failed call says. An error belongs to the caller, who frees it with ctrd_error_free().
 */

/** The same call may succeed when it is tried again unchanged. */
#define CTRD_ERROR_RETRYABLE 1
/** The change may have taken place although the call failed: look before you repeat. */
#define CTRD_ERROR_OUTCOME_UNKNOWN 2

/** What a failed call says. Its texts are borrowed: they are valid until it is freed. */
typedef struct ctrd_error_t ctrd_error_t;

/**
 * The status that the failed call returned.
 *
 * @param error  the error; NULL gives CTRD_OK.
 * @return one of the CTRD_E_ values.
 *
 * Threads: any. Since: 0.1.
 */
ctrd_status_t ctrd_error_status(const ctrd_error_t *error);

/**
 * The whole error as one line for a log: operation, subject, step and message. Where it repeats
 * something very long, part of that is left out: "…" (UTF-8) is in its place.
 *
 * @param error  the error; NULL gives NULL.
 * @return the text, borrowed from the error.
 *
 * Threads: any. Since: 0.1.
 */
const char *ctrd_error_text(const ctrd_error_t *error);

/**
 * What happened, without operation, subject and step. Of an invalid argument it begins with the
 * argument's name and a colon.
 *
 * @param error  the error; NULL gives NULL.
 * @return the text, borrowed from the error.
 *
 * Threads: any. Since: 0.1.
 */
const char *ctrd_error_message(const ctrd_error_t *error);

/**
 * The operation that failed, named as its function is, without "ctrd_": "create_container".
 *
 * @param error  the error; NULL gives NULL.
 * @return the name, borrowed from the error; empty for a cause that is no operation of its own.
 *
 * Threads: any. Since: 0.1.
 */
const char *ctrd_error_operation(const ctrd_error_t *error);

/**
 * What the operation was to act on: a container's id, an image's reference, an address.
 *
 * @param error  the error; NULL gives NULL.
 * @return the name, borrowed from the error; empty where the operation got no further than its
 *         arguments.
 *
 * Threads: any. Since: 0.1.
 */
const char *ctrd_error_subject(const ctrd_error_t *error);

/**
 * The step of the operation that failed: "prepare the snapshot".
 *
 * @param error  the error; NULL gives NULL.
 * @return the step, borrowed from the error; NULL where the operation has no steps or failed before
 *         the first.
 *
 * Threads: any. Since: 0.1.
 */
const char *ctrd_error_step(const ctrd_error_t *error);

/**
 * The gRPC status code that the server answered with (1 to 16).
 *
 * @param error  the error; NULL gives 0.
 * @return the code; 0 where the error is not an answer of the server's.
 *
 * Threads: any. Since: 0.1.
 */
int32_t ctrd_error_grpc_code(const ctrd_error_t *error);

/**
 * The error number of the system call that failed, as in errno.h.
 *
 * @param error  the error; NULL gives 0.
 * @return the number; 0 where no system call failed.
 *
 * Threads: any. Since: 0.1.
 */
int32_t ctrd_error_errno(const ctrd_error_t *error);

/**
 * What may be done about the error: CTRD_ERROR_RETRYABLE, CTRD_ERROR_OUTCOME_UNKNOWN, both or
 * none of them.
 *
 * @param error  the error; NULL gives 0.
 * @return the flags; values that are not named here may be added.
 *
 * Threads: any. Since: 0.1.
 */
uint32_t ctrd_error_flags(const ctrd_error_t *error);

/**
 * The error that brought this one about.
 *
 * @param error  the error; NULL gives NULL.
 * @return the cause, borrowed from the error and not to be freed; NULL where there is none.
 *
 * Threads: any. Since: 0.1.
 */
const ctrd_error_t *ctrd_error_cause(const ctrd_error_t *error);

/**
 * Frees an error, and with it its texts and its cause.
 *
 * @param error  the error, which the call takes; NULL does nothing.
 *
 * Threads: owner. Since: 0.1.
 */
void ctrd_error_free(ctrd_error_t *error);

/* Times ---------------------------------------------------------------------------------------- */

/** A point in time, in UTC. */
typedef struct ctrd_time_t {
    /** Seconds since 1970-01-01 00:00:00; negative before. */
    int64_t seconds;
    /** Nanoseconds after that second, 0 to 999999999. */
    uint32_t nanoseconds;
    /** Always 0. */
    uint32_t reserved;
} ctrd_time_t;

/* Callbacks ---------------------------------------------------------------------------------------
 *
 * A callback is always given with a pointer that it receives, and with a function that is called
 * exactly once when the pointer is not needed any more. Callbacks must return: they must not throw
 * exceptions, longjmp, or end their thread.
 */

/**
 * Called once with the userdata of a callback, when it is not needed any more: on the thread that gives
 * it up, which may be one of the library's. It may call what a hook may. A hook's runs as inside of
 * one: what it removes or closes is not waited for.
 *
 * @param userdata  what was given along with the callback.
 */
typedef void (*ctrd_destroy_fn)(void *userdata);

/* Cancelling --------------------------------------------------------------------------------------
 *
 * A cancel handle ends the calls that it is given to, from another thread or a signal handler.
 */

/** Ends every call that it is given to. Fired once, it stays fired. */
typedef struct ctrd_cancel_t ctrd_cancel_t;

/**
 * Makes a cancel handle. It holds one descriptor, and may be given to any number of calls, at the
 * same time and one after the other.
 *
 * @param out  receives the handle, which the caller owns: ctrd_cancel_free().
 * @param err  receives the error, or NULL.
 * @return CTRD_OK; CTRD_E_INVALID_ARGUMENT; CTRD_E_IO where no descriptor is left.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_cancel_new(ctrd_cancel_t **out, ctrd_error_t **err);

/**
 * Fires a cancel handle: the calls that it was given to end with CTRD_E_CANCELLED, those that begin
 * with it later at once. It leaves errno as it was. In a child of the process that made the
 * handle it does nothing.
 *
 * @param cancel  the handle; NULL does nothing.
 *
 * Blocking: no. Threads: signal. Since: 0.1.
 */
void ctrd_cancel_fire(const ctrd_cancel_t *cancel);

/**
 * Frees a cancel handle. Calls that it was given to run on, and cannot be cancelled any more.
 *
 * @param cancel  the handle, which the call takes; NULL does nothing.
 *
 * Blocking: no. Threads: owner. Since: 0.1.
 */
void ctrd_cancel_free(ctrd_cancel_t *cancel);

/* Calls -------------------------------------------------------------------------------------------
 *
 * How a single call is bounded. Every function that may block takes a ctrd_call_t; NULL is the
 * default.
 */

/** A timeout: wait without an end. */
#define CTRD_FOREVER (-1)

/**
 * A timeout: do not wait for anything to happen; CTRD_E_WOULD_BLOCK where the call would have to.
 */
#define CTRD_POLL (-2)

/**
 * How one call is bounded, and under which namespace and lease it runs. All-zero is the default.
 */
typedef struct ctrd_call_t {
    /** sizeof(ctrd_call_t). */
    size_t size;
    /**
     * How long the call may take, in milliseconds; 0: as long as its function says; CTRD_FOREVER;
     * CTRD_POLL.
     */
    int64_t timeout_ms;
    /**
     * Ends the call when it is fired. A change that was cancelled has CTRD_ERROR_OUTCOME_UNKNOWN
     * set if it may have taken place. NULL: none. Only borrowed.
     */
    const ctrd_cancel_t *cancel;
    /** The namespace of the call. NULL: the client's. */
    const char *namespace_name;
    /** A lease of the caller's that is to hold what the call makes. NULL: none. */
    const char *lease;
} ctrd_call_t;

/** Initialises a ctrd_call_t: everything is the default. */
#define CTRD_CALL_INIT \
    { sizeof(ctrd_call_t), 0, NULL, NULL, NULL }

/**
 * Initialises a ctrd_call_t as CTRD_CALL_INIT does, for languages without macros.
 *
 * @param call  the struct; NULL does nothing.
 * @param size  its size in bytes, as the caller's header has it.
 *
 * Threads: any. Since: 0.1.
 */
void ctrd_call_init(ctrd_call_t *call, size_t size);

/* The client --------------------------------------------------------------------------------------
 *
 * A connection to a containerd, which most functions take first. It may be used from any thread,
 * and by any number of them at once. One is enough for a program.
 */

/**
 * A client's flag: containers are made so that containerd 1.7 and 2.x still know how a process ended
 * after they were started anew themselves, which they forget otherwise. For that a sandbox of the
 * container's id is written down, which other clients see in their lists. containerd 1.6 needs it not,
 * and nothing is done there.
 */
#define CTRD_CLIENT_KEEP_STOPPED_TASKS 1

/** A connection to a containerd. */
typedef struct ctrd_client_t ctrd_client_t;

/** What a client is opened with. All-zero is the default. */
typedef struct ctrd_client_config_t {
    /** sizeof(ctrd_client_config_t). */
    size_t size;
    /**
     * containerd's socket: an absolute path without a comma, or "unix:" and one. NULL:
     * /run/containerd/containerd.sock.
     */
    const char *address;
    /** The namespace of calls that name none. NULL: "default". */
    const char *namespace_name;
    /**
     * Who this program is to the other users of the same containerd: what the client makes
     * carries it as a label. NULL: "ctrd".
     */
    const char *owner;
    /** The snapshotter of calls that name none. NULL: "overlayfs". */
    const char *snapshotter;
    /**
     * Where the FIFOs of containers are made: an absolute path that containerd's shims see too.
     * Made with mode 0700 when it is first needed. NULL: /run/ctrd.
     */
    const char *state_dir;
    /**
     * The timeout, in milliseconds, of calls that name none and whose function has none of its
     * own; 0: 30000; CTRD_FOREVER.
     */
    int64_t call_timeout_ms;
    /** CTRD_CLIENT_KEEP_STOPPED_TASKS, or 0. */
    uint64_t flags;
} ctrd_client_config_t;

/** Initialises a ctrd_client_config_t: everything is the default. */
#define CTRD_CLIENT_CONFIG_INIT \
    { sizeof(ctrd_client_config_t), NULL, NULL, NULL, NULL, NULL, 0, 0 }

/** What a client has counted since it was opened. */
typedef struct ctrd_counters_t {
    /** sizeof(ctrd_counters_t). */
    size_t size;
    /**
     * How often a connection broke, as seen by what has to be begun anew: each subscription to events
     * by itself, and waits for exits that broke off together, within a second, once.
     */
    uint64_t reconnects;
    /**
     * How many processes were looked up after that, or because of an answer that leaves a doubt, with
     * a result.
     */
    uint64_t reconciled;
    /** How many messages were dropped because a queue or a hook was full. */
    uint64_t dropped;
    /** How many processes are watched now whose exit is not known. */
    uint64_t outstanding;
} ctrd_counters_t;

/** Initialises a ctrd_counters_t: everything is the default. */
#define CTRD_COUNTERS_INIT \
    { sizeof(ctrd_counters_t), 0, 0, 0, 0 }

/**
 * Initialises a ctrd_client_config_t as CTRD_CLIENT_CONFIG_INIT does, for languages without macros.
 *
 * @param config  the struct; NULL does nothing.
 * @param size    its size in bytes, as the caller's header has it.
 *
 * Threads: any. Since: 0.1.
 */
void ctrd_client_config_init(ctrd_client_config_t *config, size_t size);

/**
 * Opens a client, and makes sure that a containerd answers. The first one starts the library's
 * threads: a daemon opens its client after it has forked.
 *
 * @param config  how; NULL: the default. Only borrowed.
 * @param call    bounds of the call; NULL: the default, at most 10 s.
 * @param out     receives the client, which the caller owns: ctrd_client_free().
 * @param err     receives the error, or NULL.
 * @return CTRD_OK; CTRD_E_INVALID_ARGUMENT, also where the address is no socket's;
 *         CTRD_E_NOT_FOUND where there is no socket; CTRD_E_PERMISSION_DENIED where it may not be
 *         used; CTRD_E_UNAVAILABLE where nobody listens, at once, as while a daemon of this library's
 *         is yet to start its containerd again; CTRD_E_TIMEOUT where nobody answers; CTRD_E_IO where
 *         no descriptor or thread is left; CTRD_E_CANCELLED; CTRD_E_FORKED in a child of a process that has opened one.
 *
 * Blocking: until the server has answered. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_client_open(
    const ctrd_client_config_t *config, const ctrd_call_t *call, ctrd_client_t **out,
    ctrd_error_t **err);

/**
 * Closes a client: no further call begins, those that wait for an exit end with CTRD_E_CLOSED, no
 * hook is started any more, and other calls under way, clean-ups (CTRD_CLEANUP_ALL) among them, and
 * hooks that run are waited for. Then the userdata of all hooks is destroyed. Containers run on.
 * Closing again does nothing, or goes on waiting. The handle stays valid until ctrd_client_free().
 *
 * From inside a hook it waits for nothing and nobody.
 *
 * @param client  the client.
 * @param call    bounds of the call; NULL: the default, at most 10 s.
 * @param err     receives the error, or NULL.
 * @return CTRD_OK; CTRD_E_INVALID_ARGUMENT; CTRD_E_TIMEOUT, CTRD_E_WOULD_BLOCK (with CTRD_POLL) or
 *         CTRD_E_CANCELLED where calls or clean-ups are still under way or a hook still runs;
 *         CTRD_E_REENTRANT from a callback of one of those calls; CTRD_E_FORKED.
 *
 * Blocking: until no call is under way and no hook runs. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_client_close(
    const ctrd_client_t *client, const ctrd_call_t *call, ctrd_error_t **err);

/**
 * Frees a client, and closes it if that has not been done. No other thread may use the handle any
 * more, nor be in a call with it, but for hooks: these are waited for, whatever call they are in, and
 * may use it so long. A hook that does not return within 10 s is left to end by itself, and its
 * userdata is destroyed when it does; it must not use the client any more. From inside a hook it waits
 * for nothing: then no other hook may. Queues stay valid, and are closed. In a child of the process
 * that opened it, it does nothing.
 *
 * @param client  the client, which the call takes; NULL does nothing.
 *
 * Blocking: until the client's threads have ended, at most 10 s. Threads: owner. Since: 0.1.
 */
void ctrd_client_free(ctrd_client_t *client);

/**
 * Initialises a ctrd_counters_t as CTRD_COUNTERS_INIT does, for languages without macros.
 *
 * @param counters  the struct; NULL does nothing.
 * @param size      its size in bytes, as the caller's header has it.
 *
 * Threads: any. Since: 0.1.
 */
void ctrd_counters_init(ctrd_counters_t *counters, size_t size);

/**
 * Gives what a client has counted. The struct's size, which the caller has set, says how much of it
 * his header knows: only that is written, and what the library does not know of it becomes 0.
 *
 * @param client  the client; it may be closed.
 * @param out     receives the counters.
 * @param err     receives the error, or NULL.
 * @return CTRD_OK; CTRD_E_INVALID_ARGUMENT; CTRD_E_FORKED.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_client_counters(
    const ctrd_client_t *client, ctrd_counters_t *out, ctrd_error_t **err);

/* Versions ----------------------------------------------------------------------------------------
 *
 * Of the library, and of the server that it talks to.
 */

/** What the server says of itself. */
typedef struct ctrd_version_t ctrd_version_t;

/**
 * The version of the library that is loaded, which may be a later one than the header's
 * CTRD_VERSION_NUMBER.
 *
 * @return major * 10000 + minor * 100 + patch.
 *
 * Threads: any. Since: 0.1.
 */
uint32_t ctrd_version_number(void);

/**
 * The version of the library that is loaded, as text: "0.1.0".
 *
 * @return the text, which is constant.
 *
 * Threads: any. Since: 0.1.
 */
const char *ctrd_version_string(void);

/**
 * Whether the library that is loaded has a part: "containers", "daemon", "events", "hooks",
 * "images", "log", "pull", "queues", "recovery", "snapshots", "stdio".
 *
 * @param name  the part's name; NULL is none.
 * @return 1 if it has, 0 if not.
 *
 * Threads: any. Since: 0.1.
 */
int32_t ctrd_has_feature(const char *name);

/**
 * Asks the server for its version.
 *
 * @param client  the client.
 * @param call    bounds of the call; NULL: the default, at most 10 s.
 * @param out     receives the answer, which the caller owns: ctrd_version_free().
 * @param err     receives the error, or NULL.
 * @return CTRD_OK; CTRD_E_INVALID_ARGUMENT; CTRD_E_UNAVAILABLE; CTRD_E_TIMEOUT;
 *         CTRD_E_CANCELLED; CTRD_E_CLOSED; CTRD_E_FORKED.
 *
 * Blocking: until the server has answered. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_version(
    const ctrd_client_t *client, const ctrd_call_t *call, ctrd_version_t **out, ctrd_error_t **err);

/**
 * The server's version, as in "1.6.20~ds1" or "v1.7.24": distributions write it in many ways.
 *
 * @param version  the answer; NULL gives NULL.
 * @return the text, borrowed from the answer.
 *
 * Threads: any. Since: 0.1.
 */
const char *ctrd_version_server(const ctrd_version_t *version);

/**
 * The commit that the server was built from.
 *
 * @param version  the answer; NULL gives NULL.
 * @return the text, borrowed from the answer; empty where the server does not say.
 *
 * Threads: any. Since: 0.1.
 */
const char *ctrd_version_revision(const ctrd_version_t *version);

/**
 * Frees a server's version.
 *
 * @param version  the answer, which the call takes; NULL does nothing.
 *
 * Threads: owner. Since: 0.1.
 */
void ctrd_version_free(ctrd_version_t *version);

/* Messages ----------------------------------------------------------------------------------------
 *
 * What the library tells: of a process's end, of an event, of what may have been missed. Messages do
 * not change.
 */

/** A message's kind: a container's first process has ended. */
#define CTRD_MESSAGE_EXIT 1
/** A message's kind: a process that was executed in a container has ended. */
#define CTRD_MESSAGE_EXEC_EXIT 2
/** A message's kind: an event of the server's. */
#define CTRD_MESSAGE_EVENT 3

/**
 * A message's kind: events may have been missed, because the connection was broken and the server
 * does not repeat them. Exits are not among them: those are looked up.
 */
#define CTRD_MESSAGE_GAP 4

/**
 * A message's kind: a queue or a hook was full, and messages for it were dropped:
 * ctrd_message_dropped().
 */
#define CTRD_MESSAGE_OVERFLOW 5
/** A message's kind: a step of a pull. */
#define CTRD_MESSAGE_PROGRESS 6

/** A message's origin: from the server, as it happened. */
#define CTRD_ORIGIN_LIVE 1

/**
 * A message's origin: looked up afterwards, because the connection was broken or the program is a
 * later one.
 */
#define CTRD_ORIGIN_RECOVERED 2
/** A message's origin: it happened while nobody could see it, and no source holds the details. */
#define CTRD_ORIGIN_GAP 3

/** What the library tells. Its texts are borrowed: they are valid until it is freed. */
typedef struct ctrd_message_t ctrd_message_t;

/**
 * What a message is about: one of the CTRD_MESSAGE_ values.
 *
 * @param message  the message; NULL gives 0.
 * @return the kind; values that are not named here may be added.
 *
 * Threads: any. Since: 0.1.
 */
uint32_t ctrd_message_kind(const ctrd_message_t *message);

/**
 * How the library came to know: CTRD_ORIGIN_LIVE, CTRD_ORIGIN_RECOVERED or CTRD_ORIGIN_GAP.
 *
 * @param message  the message; NULL gives 0.
 * @return the origin; 0 for one that has no value yet.
 *
 * Threads: any. Since: 0.1.
 */
uint32_t ctrd_message_origin(const ctrd_message_t *message);

/**
 * The number of a message among those of its client: of two, the library came to know the one with
 * the lower number first.
 *
 * @param message  the message; NULL gives 0.
 * @return the number, from 1.
 *
 * Threads: any. Since: 0.1.
 */
uint64_t ctrd_message_seq(const ctrd_message_t *message);

/**
 * The namespace that a message is from.
 *
 * @param message  the message; NULL gives NULL.
 * @return its name, borrowed from the message; empty where it is about none.
 *
 * Threads: any. Since: 0.1.
 */
const char *ctrd_message_namespace(const ctrd_message_t *message);

/**
 * The container that the message is about.
 *
 * @param message  the message; NULL gives NULL.
 * @return its id, borrowed from the message; empty where it is about none.
 *
 * Threads: any. Since: 0.1.
 */
const char *ctrd_message_container_id(const ctrd_message_t *message);

/**
 * The exec that the message is about.
 *
 * @param message  the message; NULL gives NULL.
 * @return its id, borrowed from the message; NULL where it is about the container's first process.
 *
 * Threads: any. Since: 0.1.
 */
const char *ctrd_message_exec_id(const ctrd_message_t *message);

/**
 * The process's exit code: 128 and the signal's number where a signal ended it. It is never a
 * guess.
 *
 * @param message  the message; NULL gives 0.
 * @param out      receives the code where it is known, and is left as it is where not; may be NULL.
 * @return 1 where the code is known, 0 where no source holds it.
 *
 * Threads: any. Since: 0.1.
 */
int32_t ctrd_message_exit_code(const ctrd_message_t *message, uint32_t *out);

/**
 * When the process ended, by the server's clock.
 *
 * @param message  the message; NULL gives 0.
 * @param out      receives the time where it is known, and is left as it is where not; may be NULL.
 * @return 1 where the time is known, 0 where not.
 *
 * Threads: any. Since: 0.1.
 */
int32_t ctrd_message_exit_time(const ctrd_message_t *message, ctrd_time_t *out);

/**
 * Why the exit code or time is missing; of a gap, why the connection was broken.
 *
 * @param message  the message; NULL gives NULL.
 * @return the error, borrowed from the message and not to be freed; NULL where nothing is missing.
 *
 * Threads: any. Since: 0.1.
 */
const ctrd_error_t *ctrd_message_error(const ctrd_message_t *message);

/**
 * Why the process never ran.
 *
 * @param message  the message; NULL gives NULL.
 * @return the error, borrowed from the message and not to be freed; NULL where the process ran.
 *
 * Threads: any. Since: 0.1.
 */
const ctrd_error_t *ctrd_message_start_error(const ctrd_message_t *message);

/**
 * An event's topic, as "/tasks/start"; the reference of the image that progress is about.
 *
 * @param message  the message; NULL gives NULL.
 * @return the text, borrowed from the message; NULL where it has none.
 *
 * Threads: any. Since: 0.1.
 */
const char *ctrd_message_topic(const ctrd_message_t *message);

/**
 * An event as JSON, with the fields as containerd names them; progress as an array of everything
 * that the pull fetches. It is made when it is asked for first.
 *
 * @param message  the message; NULL gives NULL.
 * @return the text, borrowed from the message; NULL where it has none.
 *
 * Threads: any. Since: 0.1.
 */
const char *ctrd_message_json(const ctrd_message_t *message);

/**
 * When an event happened, by the server's clock.
 *
 * @param message  the message; NULL gives 0.
 * @param out      receives the time where it is known, and is left as it is where not; may be NULL.
 * @return 1 where the time is known, 0 where not.
 *
 * Threads: any. Since: 0.1.
 */
int32_t ctrd_message_event_time(const ctrd_message_t *message, ctrd_time_t *out);

/**
 * How many messages were dropped, of a CTRD_MESSAGE_OVERFLOW.
 *
 * @param message  the message; NULL gives 0.
 * @return the number; 0 of every other kind.
 *
 * Threads: any. Since: 0.1.
 */
uint64_t ctrd_message_dropped(const ctrd_message_t *message);

/**
 * Gives one more handle of a message, which outlives the first.
 *
 * @param message  the message; NULL gives NULL.
 * @return the new handle, which the caller owns: ctrd_message_free().
 *
 * Threads: any. Since: 0.1.
 */
ctrd_message_t *ctrd_message_ref(const ctrd_message_t *message);

/**
 * Frees one handle of a message.
 *
 * @param message  the handle, which the call takes; NULL does nothing.
 *
 * Threads: owner. Since: 0.1.
 */
void ctrd_message_free(ctrd_message_t *message);

/* Standard streams --------------------------------------------------------------------------------
 *
 * Where a process's input comes from, and where its output goes.
 */

/** A stream: nowhere. Reads end at once, writes vanish. */
#define CTRD_IO_NONE 0

/**
 * A stream: a descriptor of the caller's, which is duplicated (close-on-exec). The caller keeps his
 * own, and the flags of the file that both share are never changed. Output waits for a slow reader,
 * as at a pipe; once the reader has gone, it is dropped.
 */
#define CTRD_IO_FD 1

/**
 * A stream: what the shim is given as it is: the absolute path of a FIFO or of a file that exists,
 * and for output file:// (appended to, made where it is missing) or binary:// (a program that gets
 * it) with one. Such a URI in stdout takes stderr too, which is then CTRD_IO_NONE or the same. The
 * shim closes the file of file:// when stdout ends, and may lose the end of stderr.
 */
#define CTRD_IO_PATH 2

/** The streams of a process. All-zero: none. */
typedef struct ctrd_io_t {
    /** sizeof(ctrd_io_t). */
    size_t size;
    /** What the process reads: CTRD_IO_NONE, CTRD_IO_FD or CTRD_IO_PATH. */
    uint32_t stdin_kind;
    /** What it writes: one of the same. */
    uint32_t stdout_kind;
    /** What it complains: one of the same. Must be CTRD_IO_NONE with a terminal. */
    uint32_t stderr_kind;
    /** The descriptor of a stream whose kind is CTRD_IO_FD; else not looked at. */
    int32_t stdin_fd;
    /** As stdin_fd. */
    int32_t stdout_fd;
    /** As stdin_fd. */
    int32_t stderr_fd;
    /** The path or URI of a stream whose kind is CTRD_IO_PATH; else not looked at. */
    const char *stdin_path;
    /** As stdin_path. */
    const char *stdout_path;
    /** As stdin_path. */
    const char *stderr_path;
    /** 1: the process has a terminal, and everything that it writes comes from stdout. 0: none. */
    uint32_t terminal;
    /** Must be 0. */
    uint32_t reserved;
} ctrd_io_t;

/** Initialises a ctrd_io_t: everything is the default. */
#define CTRD_IO_INIT \
    { sizeof(ctrd_io_t), 0, 0, 0, 0, 0, 0, NULL, NULL, NULL, 0, 0 }

/**
 * Initialises a ctrd_io_t as CTRD_IO_INIT does, for languages without macros.
 *
 * @param io    the struct; NULL does nothing.
 * @param size  its size in bytes, as the caller's header has it.
 *
 * Threads: any. Since: 0.1.
 */
void ctrd_io_init(ctrd_io_t *io, size_t size);

/* Containers --------------------------------------------------------------------------------------
 *
 * Ids are at most 76 letters and digits, joined by single '.', '_' or '-'.
 */

/** A container's flag: create it and do not start it; ctrd_start_container() does. */
#define CTRD_CONTAINER_NO_START 1

/** What is removed of a container after its exit: nothing, ctrd_destroy_container() does it. */
#define CTRD_CLEANUP_KEEP 0

/**
 * What is removed of a container after its exit: the task. The record keeps the exit, and the
 * snapshot what the process has written.
 */
#define CTRD_CLEANUP_TASK 1

/**
 * What is removed of a container after its exit: task, snapshot and record. From then on only the
 * client that watched it can tell of the exit, to ctrd_probe() as often as it is asked and to one
 * ctrd_destroy_container(), as long as the id is not another container's: at least of the last 1024
 * containers that went so. To every other client it is CTRD_E_NOT_FOUND.
 */
#define CTRD_CLEANUP_ALL 2

/** What a new container is to be. Everything is only borrowed, for the time of the call. */
typedef struct ctrd_container_config_t {
    /** sizeof(ctrd_container_config_t). */
    size_t size;
    /** Its id. Required. */
    const char *id;
    /** The image that it is made from, which must be there. Either this or rootfs. */
    const char *image;
    /**
     * A directory that is its root file system, prepared by the caller, as an absolute path that
     * containerd sees too. Nothing in it is ever removed.
     */
    const char *rootfs;
    /** NULL: the client's. */
    const char *snapshotter;
    /**
     * The key of its snapshot, which is prepared unless it stands: at most 4096 bytes. NULL: the
     * id.
     */
    const char *snapshot_key;
    /** NULL: "io.containerd.runc.v2". */
    const char *runtime;
    /**
     * The OCI runtime specification, as JSON; members that this library does not know are kept.
     * NULL: the default (ctrd_default_spec()) with the image's configuration applied to it.
     */
    const char *spec_json;
    /**
     * The command, instead of the image's or the specification's: args_len strings. With
     * args_len 0 it is as it is there.
     */
    const char *const *args;
    /** See args. */
    size_t args_len;
    /**
     * Labels of the container's record: labels_len keys, and as many values. Keys that begin with
     * "io.ctrd." are the library's own. NULL, NULL and 0: none.
     */
    const char *const *label_keys;
    /** See label_keys. */
    const char *const *label_values;
    /** See label_keys. */
    size_t labels_len;
    /** Where its input comes from and its output goes. NULL: nowhere. */
    const ctrd_io_t *io;
    /**
     * What is removed by itself once its process has ended and every hook that was told of that has
     * returned: CTRD_CLEANUP_KEEP, CTRD_CLEANUP_TASK or CTRD_CLEANUP_ALL.
     */
    uint32_t cleanup;
    /** Must be 0. */
    uint32_t reserved;
    /** CTRD_CONTAINER_NO_START, or 0. */
    uint64_t flags;
} ctrd_container_config_t;

/** Initialises a ctrd_container_config_t: everything is the default. */
#define CTRD_CONTAINER_CONFIG_INIT \
    { sizeof(ctrd_container_config_t), NULL, NULL, NULL, NULL, NULL, NULL, NULL, \
      NULL, 0, NULL, NULL, 0, NULL, 0, 0, 0 }

/**
 * Initialises a ctrd_container_config_t as CTRD_CONTAINER_CONFIG_INIT does, for languages without
 * macros.
 *
 * @param config  the struct; NULL does nothing.
 * @param size    its size in bytes, as the caller's header has it.
 *
 * Threads: any. Since: 0.1.
 */
void ctrd_container_config_init(ctrd_container_config_t *config, size_t size);

/**
 * Creates a container and starts its process, unless a flag says not to. Where a step fails, the
 * steps before it are undone, and the error names the step; where the server does not answer or cannot
 * be reached, that may take up to 15 s, also beyond the call's timeout.
 *
 * @param client   the client.
 * @param config   what the container is to be. Only borrowed; descriptors are duplicated.
 * @param call     bounds of the call; NULL: the default, at most the client's call timeout.
 * @param pid_out  receives the process's id, in the host's pid namespace; may be NULL.
 * @param err      receives the error, or NULL.
 * @return CTRD_OK; CTRD_E_INVALID_ARGUMENT; CTRD_E_NOT_FOUND where there is no such image;
 *         CTRD_E_BUSY where another call that changes the container takes longer than this one may;
 *         CTRD_E_ALREADY_EXISTS where the id is taken; CTRD_E_UNKNOWN where runc refuses, as it
 *         does a command that is not in the image; CTRD_E_IO where no descriptor, thread or room for
 *         FIFOs is left; CTRD_E_UNAVAILABLE; CTRD_E_TIMEOUT; CTRD_E_CANCELLED; CTRD_E_CLOSED;
 *         CTRD_E_FORKED.
 *
 * Blocking: until the process runs. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_create_container(
    const ctrd_client_t *client, const ctrd_container_config_t *config, const ctrd_call_t *call,
    uint32_t *pid_out, ctrd_error_t **err);

/**
 * Starts the process of a container that was created with CTRD_CONTAINER_NO_START.
 *
 * @param client   the client.
 * @param id       the container's id.
 * @param call     bounds of the call; NULL: the default, at most the client's call timeout.
 * @param pid_out  receives the process's id, in the host's pid namespace; may be NULL.
 * @param err      receives the error, or NULL.
 * @return CTRD_OK; CTRD_E_INVALID_ARGUMENT; CTRD_E_NOT_FOUND; CTRD_E_BUSY as
 *         ctrd_create_container(); CTRD_E_FAILED_PRECONDITION where it was started before or is
 *         another owner's; CTRD_E_UNKNOWN where runc refuses; CTRD_E_UNAVAILABLE; CTRD_E_TIMEOUT;
 *         CTRD_E_CANCELLED; CTRD_E_CLOSED; CTRD_E_FORKED; CTRD_E_IO where no thread can be made.
 *
 * Blocking: until the process runs. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_start_container(
    const ctrd_client_t *client, const char *id, const ctrd_call_t *call, uint32_t *pid_out,
    ctrd_error_t **err);

/**
 * Waits for the end of a container's process. Any number of threads may wait for the same one, and
 * the message can be had again until the container is destroyed; after CTRD_CLEANUP_ALL, or where
 * another client has removed it, as long as CTRD_CLEANUP_ALL says. A timeout is an error, not a
 * message. The message may be without a code: ctrd_message_error() then says why.
 *
 * @param client  the client.
 * @param id      the container's id.
 * @param call    bounds of the call; NULL: the default, without an end. CTRD_POLL tells what is known
 *                without asking the server, but asks, for at most 1 s, of a container that this client
 *                does not watch yet, and of one whose exit was told: its id may be another
 *                container's by now.
 * @param out     receives the message, which the caller owns: ctrd_message_free(); may be NULL.
 * @param err     receives the error, or NULL.
 * @return CTRD_OK; CTRD_E_INVALID_ARGUMENT; CTRD_E_NOT_FOUND; CTRD_E_TIMEOUT; CTRD_E_WOULD_BLOCK
 *         with CTRD_POLL; CTRD_E_CANCELLED; CTRD_E_CLOSED; CTRD_E_UNAVAILABLE where the container
 *         could not be looked up; CTRD_E_FORKED; CTRD_E_IO where no thread can be made.
 *
 * Blocking: until the process has ended. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_probe(
    const ctrd_client_t *client, const char *id, const ctrd_call_t *call, ctrd_message_t **out,
    ctrd_error_t **err);

/**
 * Ends a container and removes it: SIGTERM to all its processes, SIGKILL once the grace period has
 * passed; then its task, its snapshot and its record are deleted. Where it fails half-way, calling it
 * again goes on. One that was removed already, by itself or by another call while this one waited,
 * is destroyed too, where this client knows its exit.
 *
 * @param client    the client.
 * @param id        the container's id.
 * @param grace_ms  the grace period in milliseconds; 0: 5000; CTRD_POLL: SIGKILL at once;
 *                  CTRD_FOREVER: no SIGKILL. It has a clock of its own, beside the call's timeout.
 * @param call      bounds of the call; NULL: the default, at most the grace period and the
 *                  client's call timeout; with a grace period of CTRD_FOREVER without an end.
 * @param out       receives the message about the exit, which the caller owns:
 *                  ctrd_message_free(); may be NULL. It has no code where no source holds one
 *                  (ctrd_message_error()) or the process never ran
 *                  (ctrd_message_start_error()); the call succeeds all the same.
 * @param err       receives the error, or NULL.
 * @return CTRD_OK; CTRD_E_INVALID_ARGUMENT; CTRD_E_NOT_FOUND where there is no such container;
 *         CTRD_E_FAILED_PRECONDITION where it is another owner's; CTRD_E_BUSY as
 *         ctrd_create_container(); CTRD_E_ABORTED where another client starts it again and again;
 *         CTRD_E_UNAVAILABLE; CTRD_E_TIMEOUT; CTRD_E_CANCELLED; CTRD_E_CLOSED; CTRD_E_FORKED;
 *         CTRD_E_IO where no thread can be made.
 *
 * Blocking: until the container is gone. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_destroy_container(
    const ctrd_client_t *client, const char *id, int64_t grace_ms, const ctrd_call_t *call,
    ctrd_message_t **out, ctrd_error_t **err);

/**
 * Gives the id of a container's first process; also of one that has ended and whose task stands, whose
 * number another process may have by then.
 *
 * @param client  the client.
 * @param id      the container's id.
 * @param call    bounds of the call; NULL: the default, at most the client's call timeout.
 * @param out     receives the process's id, in the host's pid namespace.
 * @param err     receives the error, or NULL.
 * @return CTRD_OK; CTRD_E_INVALID_ARGUMENT; CTRD_E_NOT_FOUND; CTRD_E_UNAVAILABLE;
 *         CTRD_E_TIMEOUT; CTRD_E_CANCELLED; CTRD_E_CLOSED; CTRD_E_FORKED.
 *
 * Blocking: until the server has answered. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_container_pid(
    const ctrd_client_t *client, const char *id, const ctrd_call_t *call, uint32_t *out,
    ctrd_error_t **err);

/**
 * Gives the ids of all processes of a container.
 *
 * @param client   the client.
 * @param id       the container's id.
 * @param call     bounds of the call; NULL: the default, at most the client's call timeout.
 * @param buf      receives the processes' ids, in the host's pid namespace; may be NULL if cap is 0.
 * @param cap      how many buf has room for.
 * @param len_out  receives how many processes there are, which may be more than cap; buf then holds
 *                 the first cap of them.
 * @param err      receives the error, or NULL.
 * @return CTRD_OK; CTRD_E_INVALID_ARGUMENT; CTRD_E_NOT_FOUND; CTRD_E_UNAVAILABLE;
 *         CTRD_E_TIMEOUT; CTRD_E_CANCELLED; CTRD_E_CLOSED; CTRD_E_FORKED.
 *
 * Blocking: until the server has answered. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_container_pids(
    const ctrd_client_t *client, const char *id, const ctrd_call_t *call, uint32_t *buf, size_t cap,
    size_t *len_out, ctrd_error_t **err);

/* Recovering --------------------------------------------------------------------------------------
 *
 * Taking containers over after the program was started anew: their streams, and the watch of their
 * processes. What ended meanwhile is told of with its real exit, as far as containerd still knows.
 * Only containers with the client's owner label are taken over. None is ever removed, but by the
 * cleanup that it was created with.
 */

/**
 * What a container was found to be: its process was created or runs, and is watched. One that was only
 * created waits for ctrd_start_container(), as where a program died within ctrd_create_container();
 * for one that runs that answers CTRD_E_FAILED_PRECONDITION.
 */
#define CTRD_RECOVERY_ALIVE 1

/**
 * What a container was found to be: its process has ended, which hooks and queues are told, and who
 * probes.
 */
#define CTRD_RECOVERY_ENDED 2

/**
 * What a container was found to be: it has no task, and nothing says that it ever ended. It was left
 * as it is.
 */
#define CTRD_RECOVERY_NO_TASK 3

/**
 * What a container was found to be: it could not be looked at, as its shim is stuck or the server
 * does not answer; or its streams could not be taken. It was left as it is.
 */
#define CTRD_RECOVERY_FAILED 4

/** What became of several containers. Its texts are borrowed: they are valid until it is freed. */
typedef struct ctrd_recovery_t ctrd_recovery_t;

/**
 * Says where the streams of a container that is recovered go.
 *
 * It runs on the thread that called ctrd_recover_all(), for each container before the first is
 * recovered. ctrd_client_close() of the same client answers CTRD_E_REENTRANT there.
 *
 * @param userdata  what ctrd_recover_all() was given.
 * @param id        the container's id, borrowed for the time of the call.
 * @param io        is to be set to the streams: descriptors (CTRD_IO_FD), which are duplicated when the
 *                  function has returned. It is initialised; left as it is, there are none, and what the
 *                  container writes is dropped.
 * @return 0; anything else leaves the container as it is: CTRD_RECOVERY_FAILED.
 */
typedef int32_t (*ctrd_recover_io_fn)(void *userdata, const char *id, ctrd_io_t *io);

/**
 * Takes a container over, also where its process has ended. One that is recovered already stays as it
 * is.
 *
 * @param client  the client.
 * @param id      the container's id.
 * @param io      where its streams go: descriptors, which are duplicated; what is not given is fetched
 *                and dropped. NULL: all of it.
 * @param call    bounds of the call; NULL: the default, at most the client's call timeout.
 * @param err     receives the error, or NULL.
 * @return CTRD_OK; CTRD_E_INVALID_ARGUMENT; CTRD_E_NOT_FOUND where there is no container, or it has
 *         no task and nothing says that it ever ended;
 *         CTRD_E_FAILED_PRECONDITION where it is another owner's; CTRD_E_BUSY as
 *         ctrd_create_container(); CTRD_E_UNAVAILABLE, also where its shim does not answer;
 *         CTRD_E_TIMEOUT; CTRD_E_CANCELLED; CTRD_E_CLOSED; CTRD_E_FORKED; CTRD_E_IO where a stream
 *         cannot be opened, or no descriptor or thread is left.
 *
 * Blocking: until the server has answered. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_recover_container(
    const ctrd_client_t *client, const char *id, const ctrd_io_t *io, const ctrd_call_t *call,
    ctrd_error_t **err);

/**
 * Takes every container of the namespace over that carries the client's owner label, 16 at once by
 * threads that end with the call, each within 5 s: one that is stuck does not hold up the rest, nor
 * make the call fail. FIFOs of containers that do not stand any more are removed.
 *
 * @param client    the client.
 * @param io        asked for the streams of each; NULL: none have any, and what they write is dropped.
 * @param userdata  handed to io.
 * @param destroy   called exactly once with userdata before the function returns, also where it
 *                  fails; may be NULL.
 * @param call      bounds of the call; NULL: the default, at most the client's call timeout.
 * @param out       receives what became of each, in the order of their ids; the caller owns it:
 *                  ctrd_recovery_free(). May be NULL.
 * @param err       receives the error, or NULL.
 * @return CTRD_OK; CTRD_E_INVALID_ARGUMENT; CTRD_E_UNAVAILABLE, CTRD_E_TIMEOUT or CTRD_E_CANCELLED
 *         where they could not be listed; CTRD_E_CLOSED; CTRD_E_FORKED.
 *
 * Blocking: until all have been looked at. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_recover_all(
    const ctrd_client_t *client, ctrd_recover_io_fn io, void *userdata, ctrd_destroy_fn destroy,
    const ctrd_call_t *call, ctrd_recovery_t **out, ctrd_error_t **err);

/**
 * How many containers were looked at.
 *
 * @param recovery  what became of them; NULL gives 0.
 * @return the number.
 *
 * Threads: any. Since: 0.1.
 */
size_t ctrd_recovery_len(const ctrd_recovery_t *recovery);

/**
 * The id of one of the containers.
 *
 * @param recovery  what became of them; NULL gives NULL.
 * @param index     which one, from 0.
 * @return the id, borrowed from what it was asked of; NULL beyond the last.
 *
 * Threads: any. Since: 0.1.
 */
const char *ctrd_recovery_id(const ctrd_recovery_t *recovery, size_t index);

/**
 * What one of the containers was found to be: one of the CTRD_RECOVERY_ values.
 *
 * @param recovery  what became of them; NULL gives 0.
 * @param index     which one, from 0.
 * @return the value; 0 beyond the last. Values that are not named here may be added.
 *
 * Threads: any. Since: 0.1.
 */
uint32_t ctrd_recovery_state(const ctrd_recovery_t *recovery, size_t index);

/**
 * Why one of the containers was not recovered.
 *
 * @param recovery  what became of them; NULL gives NULL.
 * @param index     which one, from 0.
 * @return the error, borrowed from what it was asked of and not to be freed; NULL where it was
 *         recovered, and beyond the last.
 *
 * Threads: any. Since: 0.1.
 */
const ctrd_error_t *ctrd_recovery_error(const ctrd_recovery_t *recovery, size_t index);

/**
 * Frees what became of several containers.
 *
 * @param recovery  the handle, which the call takes; NULL does nothing.
 *
 * Threads: owner. Since: 0.1.
 */
void ctrd_recovery_free(ctrd_recovery_t *recovery);

/* Hooks -------------------------------------------------------------------------------------------
 *
 * A hook is a function of the caller's that is told of exits or events. There may be any number of
 * them. One hook is never run twice at once, and is told in the order in which the library came to
 * know; different hooks run at the same time.
 *
 * Any function of this library may be called from a hook, but for ctrd_dispatch(), which answers
 * CTRD_E_REENTRANT. ctrd_remove_hook(), ctrd_client_close() and ctrd_client_free() do not wait there.
 */

/**
 * A hook's mode: it runs on a thread of the library's, which blocks every signal. Up to 16 hooks of a
 * client run at once; one that does not return keeps its thread.
 */
#define CTRD_HOOK_THREAD 0
/** A hook's mode: it runs inside ctrd_dispatch() alone, on the thread that calls that. */
#define CTRD_HOOK_DISPATCH 1

/**
 * Receives messages.
 *
 * @param userdata  what was given along with the hook.
 * @param message   the message, borrowed for the time of the call; ctrd_message_ref() keeps it.
 */
typedef void (*ctrd_message_fn)(void *userdata, const ctrd_message_t *message);

/**
 * Adds a hook that is told of the exits of containers' first processes: of those that this client
 * watches, which it has created, started, recovered or probed. No exit is dropped.
 *
 * @param client    the client.
 * @param id        a container's id, of any namespace; NULL: of all containers.
 * @param mode      where it runs: CTRD_HOOK_THREAD or CTRD_HOOK_DISPATCH.
 * @param callback  the hook. It may run before this function has returned.
 * @param userdata  handed to it.
 * @param destroy   called exactly once with userdata, also where this function fails: when the hook
 *                  was removed or the client is closed, and the hook does not run any more. May be
 *                  NULL.
 * @param hook_out  receives the hook's number, for ctrd_remove_hook(): never 0, and never used again
 *                  by this client; may be NULL.
 * @param err       receives the error, or NULL.
 * @return CTRD_OK; CTRD_E_INVALID_ARGUMENT; CTRD_E_CLOSED; CTRD_E_FORKED.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_add_stop_hook(
    const ctrd_client_t *client, const char *id, uint32_t mode, ctrd_message_fn callback,
    void *userdata, ctrd_destroy_fn destroy, uint64_t *hook_out, ctrd_error_t **err);

/**
 * Adds a hook that is told of the exits of processes that were executed in containers. Otherwise as
 * ctrd_add_stop_hook().
 *
 * @param client    the client.
 * @param id        a container's id, of any namespace; NULL: of all containers.
 * @param mode      where it runs: CTRD_HOOK_THREAD or CTRD_HOOK_DISPATCH.
 * @param callback  the hook. It may run before this function has returned.
 * @param userdata  handed to it.
 * @param destroy   called exactly once with userdata, as for ctrd_add_stop_hook(); may be NULL.
 * @param hook_out  receives the hook's number, as of ctrd_add_stop_hook(); may be NULL.
 * @param err       receives the error, or NULL.
 * @return CTRD_OK; CTRD_E_INVALID_ARGUMENT; CTRD_E_CLOSED; CTRD_E_FORKED.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_add_exit_hook(
    const ctrd_client_t *client, const char *id, uint32_t mode, ctrd_message_fn callback,
    void *userdata, ctrd_destroy_fn destroy, uint64_t *hook_out, ctrd_error_t **err);

/**
 * Adds a hook that is told of the server's events: of those that pass any of the filters, and of all
 * where there is none; of every namespace where the filters name none. Whatever is published after
 * this function has returned is told, each event once, until the connection breaks: then a
 * CTRD_MESSAGE_GAP is told before the first event of the new one. Up to 16384 messages wait for the
 * hook; what is beyond is dropped, which a CTRD_MESSAGE_OVERFLOW says.
 *
 * @param client       the client.
 * @param filters      filters_len filters in containerd's language, as "ctr events" takes them:
 *                     "topic==\"/tasks/exit\",namespace==default". May be NULL if filters_len is 0.
 * @param filters_len  see filters.
 * @param mode         where it runs: CTRD_HOOK_THREAD or CTRD_HOOK_DISPATCH.
 * @param callback     the hook. It may run before this function has returned.
 * @param userdata     handed to it.
 * @param destroy      called exactly once with userdata, as for ctrd_add_stop_hook(); may be NULL.
 *                     Where the function fails while the hook runs already, it waits for that, at
 *                     most 1 s; a hook that takes longer is destroyed when it returns.
 * @param call         bounds of the call; NULL: the default, at most the client's call timeout.
 * @param hook_out     receives the hook's number, as of ctrd_add_stop_hook(); may be NULL.
 * @param err          receives the error, or NULL.
 * @return CTRD_OK; CTRD_E_INVALID_ARGUMENT, also for a filter that containerd could not read, by its
 *         position: "filters[1]"; CTRD_E_IO where no thread can be made; CTRD_E_UNAVAILABLE;
 *         CTRD_E_TIMEOUT; CTRD_E_WOULD_BLOCK with CTRD_POLL; CTRD_E_CANCELLED; CTRD_E_CLOSED;
 *         CTRD_E_FORKED.
 *
 * Blocking: until the server sends events. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_add_event_hook(
    const ctrd_client_t *client, const char *const *filters, size_t filters_len, uint32_t mode,
    ctrd_message_fn callback, void *userdata, ctrd_destroy_fn destroy, const ctrd_call_t *call,
    uint64_t *hook_out, ctrd_error_t **err);

/**
 * Removes a hook. When this returns with CTRD_OK, the hook does not run and its userdata is destroyed;
 * after CTRD_E_TIMEOUT, CTRD_E_WOULD_BLOCK or CTRD_E_CANCELLED it still runs, is not started again,
 * and its userdata is destroyed when it returns: another call waits for that. So does a call beside
 * another one that removes the hook, or closes the client.
 *
 * From inside a hook, this one or another, it returns at once: what runs is then not waited for.
 *
 * @param client  the client.
 * @param hook    the hook's number.
 * @param call    bounds of the call; NULL: the default, at most 10 s.
 * @param err     receives the error, or NULL.
 * @return CTRD_OK; CTRD_E_INVALID_ARGUMENT; CTRD_E_NOT_FOUND where there is no such hook, as when it
 *         has gone; CTRD_E_TIMEOUT; CTRD_E_WOULD_BLOCK with CTRD_POLL; CTRD_E_CANCELLED;
 *         CTRD_E_FORKED.
 *
 * Blocking: until the hook has returned. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_remove_hook(
    const ctrd_client_t *client, uint64_t hook, const ctrd_call_t *call, ctrd_error_t **err);

/**
 * A descriptor that is readable while ctrd_dispatch() has something to do. It is only to be polled:
 * the library keeps it, and closes it with ctrd_client_free(). It is made when it is asked for first,
 * and is the same each time.
 *
 * @param client  the client; NULL gives -1.
 * @return the descriptor; -1 where none is left, and in a child of the process that opened the
 *         client.
 *
 * Threads: any. Since: 0.1.
 */
int32_t ctrd_dispatch_fd(const ctrd_client_t *client);

/**
 * Runs hooks whose mode is CTRD_HOOK_DISPATCH on the calling thread, for messages that have come. It
 * does not wait for any; there may be nothing to do. Where more are left, the descriptor stays readable.
 *
 * @param client   the client.
 * @param max      for how many messages at most; 0: 1024.
 * @param ran_out  receives for how many it has; may be NULL.
 * @param err      receives the error, or NULL.
 * @return CTRD_OK; CTRD_E_INVALID_ARGUMENT; CTRD_E_BUSY where another thread is dispatching;
 *         CTRD_E_REENTRANT from inside a hook; CTRD_E_FORKED.
 *
 * Blocking: as long as the hooks take. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_dispatch(
    const ctrd_client_t *client, uint32_t max, uint32_t *ran_out, ctrd_error_t **err);

/* Queues ------------------------------------------------------------------------------------------
 *
 * A queue holds messages until they are fetched, and has a descriptor for the caller's own loop.
 * Several threads may fetch from one: each message goes to one of them.
 */

/**
 * A kind that a queue is told of: the exits of containers' first processes, as
 * ctrd_add_stop_hook() is.
 */
#define CTRD_KIND_EXIT 1
/** A kind that a queue is told of: the exits of processes that were executed in containers. */
#define CTRD_KIND_EXEC_EXIT 2

/**
 * A kind that a queue is told of: the server's events, as ctrd_add_event_hook() is; with them come
 * CTRD_MESSAGE_GAP.
 */
#define CTRD_KIND_EVENT 4
/** A kind that a queue is told of: the progress of this client's pulls. */
#define CTRD_KIND_PROGRESS 8

/** Messages that wait to be fetched. */
typedef struct ctrd_queue_t ctrd_queue_t;

/**
 * Opens a queue. What happens from then on goes into it.
 *
 * A queue that is full blocks nobody: what comes then is dropped, exits too, and a
 * CTRD_MESSAGE_OVERFLOW says how many, at the place where they are missing.
 *
 * @param client       the client.
 * @param kinds        what the queue is told of: CTRD_KIND_ values, at least one.
 * @param filters      filters_len filters of events, any of which an event has to pass, as for
 *                     ctrd_add_event_hook(). NULL and 0: none, and all events. Only with
 *                     CTRD_KIND_EVENT.
 * @param filters_len  see filters.
 * @param capacity     how many messages it holds, at most 1048576; 0: 1024.
 * @param call         bounds of the call; NULL: the default, at most the client's call timeout.
 * @param out          receives the queue, which the caller owns: ctrd_queue_free().
 * @param err          receives the error, or NULL.
 * @return CTRD_OK; CTRD_E_INVALID_ARGUMENT, also for a filter that containerd could not read, by its
 *         position: "filters[1]"; CTRD_E_IO where no descriptor, or for events no thread, is left;
 *         CTRD_E_UNAVAILABLE; CTRD_E_TIMEOUT; CTRD_E_WOULD_BLOCK with CTRD_POLL; CTRD_E_CANCELLED;
 *         CTRD_E_CLOSED; CTRD_E_FORKED.
 *
 * Blocking: with CTRD_KIND_EVENT until the server sends events. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_queue_open(
    const ctrd_client_t *client, uint64_t kinds, const char *const *filters, size_t filters_len,
    uint32_t capacity, const ctrd_call_t *call, ctrd_queue_t **out, ctrd_error_t **err);

/**
 * A descriptor that is readable while a queue holds a message, and once its client is closed. It is
 * only to be polled: the library keeps it, and closes it with ctrd_queue_free().
 *
 * @param queue  the queue; NULL gives -1.
 * @return the descriptor; -1 in a child of the process that opened the queue.
 *
 * Threads: any. Since: 0.1.
 */
int32_t ctrd_queue_fd(const ctrd_queue_t *queue);

/**
 * Fetches the next message. A loop that polls the descriptor calls it with CTRD_POLL until it answers
 * CTRD_E_WOULD_BLOCK: several messages may have come.
 *
 * @param queue  the queue.
 * @param call   bounds of the call; NULL: the default, without an end. CTRD_POLL: not to wait. Its
 *               namespace and lease are of no use.
 * @param out    receives the message, which the caller owns: ctrd_message_free().
 * @param err    receives the error, or NULL.
 * @return CTRD_OK; CTRD_E_INVALID_ARGUMENT; CTRD_E_WOULD_BLOCK with CTRD_POLL where there is none;
 *         CTRD_E_TIMEOUT; CTRD_E_CANCELLED; CTRD_E_CLOSED where the client is closed or freed and
 *         what was in the queue is fetched; CTRD_E_FORKED.
 *
 * Blocking: until there is a message. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_queue_next(
    const ctrd_queue_t *queue, const ctrd_call_t *call, ctrd_message_t **out, ctrd_error_t **err);

/**
 * Frees a queue with the messages that it holds. In a child of the process that opened it, it does
 * nothing to the parent's.
 *
 * @param queue  the queue, which the call takes; NULL does nothing.
 *
 * Threads: owner. Since: 0.1.
 */
void ctrd_queue_free(ctrd_queue_t *queue);

/* Images --------------------------------------------------------------------------------------- */

/**
 * A pull's flag: speak HTTP with the registry. Without it, only loopback addresses are tried with
 * HTTP.
 */
#define CTRD_PULL_PLAIN_HTTP 1
/** A pull's flag: fetch the content and do not unpack it. */
#define CTRD_PULL_NO_UNPACK 2

/** A removal's flag: return only when what nothing refers to any more has been collected. */
#define CTRD_REMOVE_IMAGE_SYNC 1

/** An item of a pull: the reference is being looked up. */
#define CTRD_PROGRESS_RESOLVING 1
/** An item of a pull: the reference has a digest. */
#define CTRD_PROGRESS_RESOLVED 2
/** An item of a pull: its turn has not come. */
#define CTRD_PROGRESS_WAITING 3
/** An item of a pull: it is being fetched. */
#define CTRD_PROGRESS_DOWNLOADING 4
/** An item of a pull: it is being unpacked. */
#define CTRD_PROGRESS_EXTRACTING 5
/** An item of a pull: it is there. */
#define CTRD_PROGRESS_DONE 6
/** An item of a pull: it was there before. */
#define CTRD_PROGRESS_EXISTS 7

/** Several images. */
typedef struct ctrd_image_list_t ctrd_image_list_t;

/** An image that containerd knows. Its texts are borrowed: they are valid until it is freed. */
typedef struct ctrd_image_t ctrd_image_t;

/** The state of everything that a pull fetches. */
typedef struct ctrd_progress_list_t ctrd_progress_list_t;

/** The state of one item of a pull. */
typedef struct ctrd_progress_t ctrd_progress_t;

/** What is to be pulled, and how. Everything is only borrowed, for the time of the call. */
typedef struct ctrd_pull_config_t {
    /** sizeof(ctrd_pull_config_t). */
    size_t size;
    /**
     * The image, as in "docker.io/library/busybox:latest", or what stands for it ("busybox").
     * Required.
     */
    const char *reference;
    /** As in "linux/arm64/v8". NULL: the platform of this machine. */
    const char *platform;
    /** NULL: the client's. */
    const char *snapshotter;
    /**
     * The user's name at the registry that the reference names; no other gets it. Where the
     * registry sends to a token server, name and secret go there if that is on the registry's own
     * host (and HTTPS, unless the registry itself is spoken with over HTTP), is Docker Hub's for
     * Docker Hub, or is among token_hosts; otherwise the pull fails with CTRD_E_UNAUTHENTICATED.
     * NULL: none.
     */
    const char *username;
    /** The user's password or access token. NULL: none. */
    const char *secret;
    /** CTRD_PULL_PLAIN_HTTP, CTRD_PULL_NO_UNPACK, both, or 0. */
    uint64_t flags;
    /**
     * Other hosts that may be the registry's token server and get name and secret: token_hosts_len
     * names, or "name:port" for one port alone. GitLab's registry.gitlab.com needs "gitlab.com".
     * NULL and 0: none.
     */
    const char *const *token_hosts;
    /** See token_hosts. */
    size_t token_hosts_len;
} ctrd_pull_config_t;

/** Initialises a ctrd_pull_config_t: everything is the default. */
#define CTRD_PULL_CONFIG_INIT \
    { sizeof(ctrd_pull_config_t), NULL, NULL, NULL, NULL, NULL, 0, NULL, 0 }

/**
 * Receives the progress of a pull, about every 100 ms and once at the end.
 *
 * It runs on the thread that called ctrd_pull_image(). It may call every function of this library
 * but ctrd_client_close(), which answers CTRD_E_REENTRANT, and ctrd_client_free() of the same
 * client.
 *
 * @param userdata  what ctrd_pull_image() was given.
 * @param progress  the state of everything that is fetched, borrowed for the time of the call.
 */
typedef void (*ctrd_progress_fn)(void *userdata, const ctrd_progress_list_t *progress);

/**
 * Initialises a ctrd_pull_config_t as CTRD_PULL_CONFIG_INIT does, for languages without macros.
 *
 * @param config  the struct; NULL does nothing.
 * @param size    its size in bytes, as the caller's header has it.
 *
 * Threads: any. Since: 0.1.
 */
void ctrd_pull_config_init(ctrd_pull_config_t *config, size_t size);

/**
 * Pulls an image and unpacks it, safe from containerd's garbage collector. What is there already is
 * not fetched again; what is half there is resumed. Where the server does not answer, cleaning up
 * may take up to 6 s beyond the call's timeout.
 *
 * @param client    the client.
 * @param config    what to pull.
 * @param progress  called now and then with the state of the pull; NULL: not.
 * @param userdata  handed to progress.
 * @param destroy   called exactly once with userdata before the function returns, also where it
 *                  fails; may be NULL.
 * @param call      bounds of the call; NULL: the default, as long as data keeps coming.
 * @param out       receives the image, which the caller owns: ctrd_image_free(); may be NULL.
 * @param err       receives the error, or NULL.
 * @return CTRD_OK; CTRD_E_INVALID_ARGUMENT, also where the reference is none; CTRD_E_NOT_FOUND
 *         where the registry does not have it, or not for the platform; CTRD_E_UNAUTHENTICATED,
 *         also where the registry sends to a token server that may not have the credentials;
 *         CTRD_E_PERMISSION_DENIED; CTRD_E_DATA_LOSS where a digest does not match;
 *         CTRD_E_PROTOCOL; CTRD_E_UNAVAILABLE; CTRD_E_TIMEOUT; CTRD_E_CANCELLED; CTRD_E_CLOSED;
 *         CTRD_E_FORKED.
 *
 * Blocking: until the image is there. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_pull_image(
    const ctrd_client_t *client, const ctrd_pull_config_t *config, ctrd_progress_fn progress,
    void *userdata, ctrd_destroy_fn destroy, const ctrd_call_t *call, ctrd_image_t **out,
    ctrd_error_t **err);

/**
 * How many items a pull has.
 *
 * @param list  the progress of the pull; NULL gives 0.
 * @return the number.
 *
 * Threads: any. Since: 0.1.
 */
size_t ctrd_progress_list_len(const ctrd_progress_list_t *list);

/**
 * One item of a pull. An item keeps its place from one call to the next.
 *
 * @param list   the progress of the pull; NULL gives NULL.
 * @param index  which one, from 0.
 * @return the item, borrowed from the list; NULL beyond its end.
 *
 * Threads: any. Since: 0.1.
 */
const ctrd_progress_t *ctrd_progress_list_get(const ctrd_progress_list_t *list, size_t index);

/**
 * What the item is: the image's reference, or "<kind>-<digest>", where kind is "index",
 * "manifest", "config" or "layer".
 *
 * @param progress  the item; NULL gives NULL.
 * @return the text, borrowed from the item.
 *
 * Threads: any. Since: 0.1.
 */
const char *ctrd_progress_reference(const ctrd_progress_t *progress);

/**
 * What is being done about the item: one of the CTRD_PROGRESS_ values.
 *
 * @param progress  the item; NULL gives 0.
 * @return the value; values that are not named here may be added.
 *
 * Threads: any. Since: 0.1.
 */
uint32_t ctrd_progress_status(const ctrd_progress_t *progress);

/**
 * How many bytes of the item have come.
 *
 * @param progress  the item; NULL gives 0.
 * @return bytes.
 *
 * Threads: any. Since: 0.1.
 */
uint64_t ctrd_progress_offset(const ctrd_progress_t *progress);

/**
 * How many bytes the item has.
 *
 * @param progress  the item; NULL gives 0.
 * @return bytes; 0 where that is not known yet.
 *
 * Threads: any. Since: 0.1.
 */
uint64_t ctrd_progress_total(const ctrd_progress_t *progress);

/**
 * When the item was begun, by this machine's clock.
 *
 * @param progress  the item; NULL gives 0.
 * @param out       receives the time; may be NULL.
 * @return 1, or 0 where out is left as it is.
 *
 * Threads: any. Since: 0.1.
 */
int32_t ctrd_progress_started_at(const ctrd_progress_t *progress, ctrd_time_t *out);

/**
 * When something last changed about the item, by this machine's clock.
 *
 * @param progress  the item; NULL gives 0.
 * @param out       receives the time; may be NULL.
 * @return 1, or 0 where out is left as it is.
 *
 * Threads: any. Since: 0.1.
 */
int32_t ctrd_progress_updated_at(const ctrd_progress_t *progress, ctrd_time_t *out);

/**
 * Looks an image up.
 *
 * @param client     the client.
 * @param reference  the image, as for a pull.
 * @param call       bounds of the call; NULL: the default, at most the client's call timeout.
 * @param out        receives the image, which the caller owns: ctrd_image_free().
 * @param err        receives the error, or NULL.
 * @return CTRD_OK; CTRD_E_INVALID_ARGUMENT; CTRD_E_NOT_FOUND; CTRD_E_UNAVAILABLE;
 *         CTRD_E_TIMEOUT; CTRD_E_CANCELLED; CTRD_E_CLOSED; CTRD_E_FORKED.
 *
 * Blocking: until the server has answered. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_get_image(
    const ctrd_client_t *client, const char *reference, const ctrd_call_t *call, ctrd_image_t **out,
    ctrd_error_t **err);

/**
 * Lists the images that match any of the filters, and all where there is none.
 *
 * @param client       the client.
 * @param filters      filters_len filters in containerd's language, as in "name~=busybox"; may be
 *                     NULL if filters_len is 0.
 * @param filters_len  see filters.
 * @param call         bounds of the call; NULL: the default, at most the client's call timeout.
 * @param out          receives the images, which the caller owns: ctrd_image_list_free().
 * @param err          receives the error, or NULL.
 * @return CTRD_OK; CTRD_E_INVALID_ARGUMENT, also for a filter that containerd could not read, by
 *         its position: "filters[1]"; CTRD_E_UNAVAILABLE; CTRD_E_TIMEOUT; CTRD_E_CANCELLED;
 *         CTRD_E_CLOSED; CTRD_E_FORKED.
 *
 * Blocking: until the server has answered. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_list_images(
    const ctrd_client_t *client, const char *const *filters, size_t filters_len,
    const ctrd_call_t *call, ctrd_image_list_t **out, ctrd_error_t **err);

/**
 * Removes an image's record. What nothing else refers to goes with the next garbage collection.
 *
 * @param client     the client.
 * @param reference  the image, as for a pull.
 * @param flags      CTRD_REMOVE_IMAGE_SYNC, or 0.
 * @param call       bounds of the call; NULL: the default, at most the client's call timeout.
 * @param err        receives the error, or NULL.
 * @return CTRD_OK; CTRD_E_INVALID_ARGUMENT; CTRD_E_NOT_FOUND; CTRD_E_UNAVAILABLE;
 *         CTRD_E_TIMEOUT; CTRD_E_CANCELLED; CTRD_E_CLOSED; CTRD_E_FORKED.
 *
 * Blocking: until the server has answered. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_remove_image(
    const ctrd_client_t *client, const char *reference, uint32_t flags, const ctrd_call_t *call,
    ctrd_error_t **err);

/**
 * An image's full reference.
 *
 * @param image  the image; NULL gives NULL.
 * @return the text, borrowed from the image.
 *
 * Threads: any. Since: 0.1.
 */
const char *ctrd_image_name(const ctrd_image_t *image);

/**
 * The first 12 hexadecimal digits of an image's digest.
 *
 * @param image  the image; NULL gives NULL.
 * @return the text, borrowed from the image.
 *
 * Threads: any. Since: 0.1.
 */
const char *ctrd_image_id(const ctrd_image_t *image);

/**
 * The digest of what an image's name stands for: an index or a manifest.
 *
 * @param image  the image; NULL gives NULL.
 * @return the text, borrowed from the image.
 *
 * Threads: any. Since: 0.1.
 */
const char *ctrd_image_digest(const ctrd_image_t *image);

/**
 * The media type of what an image's name stands for.
 *
 * @param image  the image; NULL gives NULL.
 * @return the text, borrowed from the image.
 *
 * Threads: any. Since: 0.1.
 */
const char *ctrd_image_media_type(const ctrd_image_t *image);

/**
 * The size of an image's manifest, configuration and layers for this machine's platform.
 *
 * @param image  the image; NULL gives 0.
 * @return bytes.
 *
 * Threads: any. Since: 0.1.
 */
uint64_t ctrd_image_size(const ctrd_image_t *image);

/**
 * How many labels an image has.
 *
 * @param image  the image; NULL gives 0.
 * @return the number.
 *
 * Threads: any. Since: 0.1.
 */
size_t ctrd_image_labels_len(const ctrd_image_t *image);

/**
 * The key of one of an image's labels.
 *
 * @param image  the image; NULL gives NULL.
 * @param index  which one, from 0.
 * @return the text, borrowed from the image; NULL beyond the last.
 *
 * Threads: any. Since: 0.1.
 */
const char *ctrd_image_label_key(const ctrd_image_t *image, size_t index);

/**
 * The value of one of an image's labels.
 *
 * @param image  the image; NULL gives NULL.
 * @param index  which one, from 0.
 * @return the text, borrowed from the image; NULL beyond the last.
 *
 * Threads: any. Since: 0.1.
 */
const char *ctrd_image_label_value(const ctrd_image_t *image, size_t index);

/**
 * When an image's record was made, by the server's clock.
 *
 * @param image  the image; NULL gives 0.
 * @param out    receives the time where it is known, and is left as it is where not; may be NULL.
 * @return 1 where the time is known, 0 where not.
 *
 * Threads: any. Since: 0.1.
 */
int32_t ctrd_image_created_at(const ctrd_image_t *image, ctrd_time_t *out);

/**
 * When an image's record last changed, by the server's clock.
 *
 * @param image  the image; NULL gives 0.
 * @param out    receives the time where it is known, and is left as it is where not; may be NULL.
 * @return 1 where the time is known, 0 where not.
 *
 * Threads: any. Since: 0.1.
 */
int32_t ctrd_image_updated_at(const ctrd_image_t *image, ctrd_time_t *out);

/**
 * Frees an image that the caller owns; those of a list go with the list.
 *
 * @param image  the image, which the call takes; NULL does nothing.
 *
 * Threads: owner. Since: 0.1.
 */
void ctrd_image_free(ctrd_image_t *image);

/**
 * How many images a list has.
 *
 * @param list  the list; NULL gives 0.
 * @return the number.
 *
 * Threads: any. Since: 0.1.
 */
size_t ctrd_image_list_len(const ctrd_image_list_t *list);

/**
 * One image of a list.
 *
 * @param list   the list; NULL gives NULL.
 * @param index  which one, from 0.
 * @return the image, borrowed from the list and not to be freed; NULL beyond its end.
 *
 * Threads: any. Since: 0.1.
 */
const ctrd_image_t *ctrd_image_list_get(const ctrd_image_list_t *list, size_t index);

/**
 * Frees a list and its images.
 *
 * @param list  the list, which the call takes; NULL does nothing.
 *
 * Threads: owner. Since: 0.1.
 */
void ctrd_image_list_free(ctrd_image_list_t *list);

/* Snapshots ---------------------------------------------------------------------------------------
 *
 * The file systems of images and containers.
 */

/** A snapshot's kind: mounted read-only. */
#define CTRD_SNAPSHOT_VIEW 1
/** A snapshot's kind: it can be written to, as a container's. */
#define CTRD_SNAPSHOT_ACTIVE 2
/** A snapshot's kind: it does not change any more, as a layer's. */
#define CTRD_SNAPSHOT_COMMITTED 3

/**
 * What a snapshotter knows of a snapshot. Its texts are borrowed: they are valid until it is freed.
 */
typedef struct ctrd_snapshot_t ctrd_snapshot_t;

/**
 * Looks a snapshot up.
 *
 * @param client       the client.
 * @param snapshotter  who has it; NULL: the client's.
 * @param key          its key, or its name once it is committed.
 * @param call         bounds of the call; NULL: the default, at most the client's call timeout.
 * @param out          receives the snapshot, which the caller owns: ctrd_snapshot_free().
 * @param err          receives the error, or NULL.
 * @return CTRD_OK; CTRD_E_INVALID_ARGUMENT, also where there is no such snapshotter;
 *         CTRD_E_NOT_FOUND; CTRD_E_UNAVAILABLE; CTRD_E_TIMEOUT; CTRD_E_CANCELLED;
 *         CTRD_E_CLOSED; CTRD_E_FORKED.
 *
 * Blocking: until the server has answered. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_get_snapshot(
    const ctrd_client_t *client, const char *snapshotter, const char *key, const ctrd_call_t *call,
    ctrd_snapshot_t **out, ctrd_error_t **err);

/**
 * Removes a snapshot.
 *
 * @param client       the client.
 * @param snapshotter  who has it; NULL: the client's.
 * @param key          its key, or its name once it is committed.
 * @param call         bounds of the call; NULL: the default, at most the client's call timeout.
 * @param err          receives the error, or NULL.
 * @return CTRD_OK; CTRD_E_INVALID_ARGUMENT, also where there is no such snapshotter;
 *         CTRD_E_NOT_FOUND; CTRD_E_FAILED_PRECONDITION where another snapshot stands on it;
 *         CTRD_E_UNAVAILABLE; CTRD_E_TIMEOUT; CTRD_E_CANCELLED; CTRD_E_CLOSED; CTRD_E_FORKED.
 *
 * Blocking: until the server has answered. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_remove_snapshot(
    const ctrd_client_t *client, const char *snapshotter, const char *key, const ctrd_call_t *call,
    ctrd_error_t **err);

/**
 * A snapshot's key or, once it is committed, its name.
 *
 * @param snapshot  the snapshot; NULL gives NULL.
 * @return the text, borrowed from the snapshot.
 *
 * Threads: any. Since: 0.1.
 */
const char *ctrd_snapshot_name(const ctrd_snapshot_t *snapshot);

/**
 * The name of the snapshot that a snapshot stands on.
 *
 * @param snapshot  the snapshot; NULL gives NULL.
 * @return the text, borrowed from the snapshot; NULL where it stands on none.
 *
 * Threads: any. Since: 0.1.
 */
const char *ctrd_snapshot_parent(const ctrd_snapshot_t *snapshot);

/**
 * What a snapshot is: CTRD_SNAPSHOT_VIEW, CTRD_SNAPSHOT_ACTIVE or CTRD_SNAPSHOT_COMMITTED.
 *
 * @param snapshot  the snapshot; NULL gives 0.
 * @return the kind; 0 where the server says something else.
 *
 * Threads: any. Since: 0.1.
 */
uint32_t ctrd_snapshot_kind(const ctrd_snapshot_t *snapshot);

/**
 * How many labels a snapshot has.
 *
 * @param snapshot  the snapshot; NULL gives 0.
 * @return the number.
 *
 * Threads: any. Since: 0.1.
 */
size_t ctrd_snapshot_labels_len(const ctrd_snapshot_t *snapshot);

/**
 * The key of one of a snapshot's labels.
 *
 * @param snapshot  the snapshot; NULL gives NULL.
 * @param index     which one, from 0, in the order of the keys.
 * @return the text, borrowed from the snapshot; NULL beyond the last.
 *
 * Threads: any. Since: 0.1.
 */
const char *ctrd_snapshot_label_key(const ctrd_snapshot_t *snapshot, size_t index);

/**
 * The value of one of a snapshot's labels.
 *
 * @param snapshot  the snapshot; NULL gives NULL.
 * @param index     which one, from 0, in the order of the keys.
 * @return the text, borrowed from the snapshot; NULL beyond the last.
 *
 * Threads: any. Since: 0.1.
 */
const char *ctrd_snapshot_label_value(const ctrd_snapshot_t *snapshot, size_t index);

/**
 * When a snapshot was made, by the server's clock.
 *
 * @param snapshot  the snapshot; NULL gives 0.
 * @param out       receives the time where it is known, and is left as it is where not; may be NULL.
 * @return 1 where the time is known, 0 where not.
 *
 * Threads: any. Since: 0.1.
 */
int32_t ctrd_snapshot_created_at(const ctrd_snapshot_t *snapshot, ctrd_time_t *out);

/**
 * When a snapshot last changed, by the server's clock.
 *
 * @param snapshot  the snapshot; NULL gives 0.
 * @param out       receives the time where it is known, and is left as it is where not; may be NULL.
 * @return 1 where the time is known, 0 where not.
 *
 * Threads: any. Since: 0.1.
 */
int32_t ctrd_snapshot_updated_at(const ctrd_snapshot_t *snapshot, ctrd_time_t *out);

/**
 * Frees a snapshot's description; the snapshot itself stays.
 *
 * @param snapshot  the description, which the call takes; NULL does nothing.
 *
 * Threads: owner. Since: 0.1.
 */
void ctrd_snapshot_free(ctrd_snapshot_t *snapshot);

/* Specifications ------------------------------------------------------------------------------- */

/**
 * Makes containerd's default OCI runtime specification for Linux, to be edited and given to
 * ctrd_create_container(). Its cgroups path is /<namespace>/<id>.
 *
 * @param namespace_name  the container's namespace; NULL: "default".
 * @param id              the container's id.
 * @param json_out        receives the specification as JSON, which the caller owns:
 *                        ctrd_string_free().
 * @param err             receives the error, or NULL.
 * @return CTRD_OK; CTRD_E_INVALID_ARGUMENT.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_default_spec(
    const char *namespace_name, const char *id, char **json_out, ctrd_error_t **err);

/**
 * Frees a string that the library has given to the caller.
 *
 * @param string  the string, which the call takes; NULL does nothing.
 *
 * Threads: owner. Since: 0.1.
 */
void ctrd_string_free(char *string);

/* A private containerd ----------------------------------------------------------------------------
 *
 * A containerd of the program's own, with its own root, state and sockets.
 *
 * It is supervised. When it dies by itself it is started again, at the same address and with the
 * environment of the start: the first time at once, then after 100 ms, doubled each time up to 10 s,
 * for as long as it takes; one that has run for 30 s makes the next time the first again. Its
 * containers live on meanwhile, and clients that are open find it again by themselves. What it died
 * of goes to the log hook. One that hangs is not dead, and is left alone: it shows in calls that time
 * out.
 */

/** A private containerd's flag: it is left dead when it dies by itself. */
#define CTRD_DAEMON_NO_RESTART 1

/**
 * A private containerd's flag: only ctrd_daemon_stop() ends it, and neither the end of the process
 * nor ctrd_daemon_free().
 */
#define CTRD_DAEMON_OUTLIVE 2

/** A containerd of the program's own. */
typedef struct ctrd_daemon_t ctrd_daemon_t;

/** How a private containerd is to run. Everything is only borrowed, for the time of the call. */
typedef struct ctrd_daemon_config_t {
    /** sizeof(ctrd_daemon_config_t). */
    size_t size;
    /**
     * The directory of everything that it has: root, state, sockets, configuration, log. An
     * absolute path, short enough for a socket's. Made with mode 0700 where it does not exist;
     * otherwise it must be empty, or a daemon's that was not stopped. Required.
     */
    const char *directory;
    /** The containerd to run: a path, or a name to be searched for. NULL: "containerd". */
    const char *binary;
    /**
     * path_len directories that are put before PATH, where containerd, its shims and runc are
     * searched for. NULL and 0: none.
     */
    const char *const *path;
    /** See path. */
    size_t path_len;
    /** CTRD_DAEMON_NO_RESTART, CTRD_DAEMON_OUTLIVE, both, or 0. */
    uint64_t flags;
} ctrd_daemon_config_t;

/** Initialises a ctrd_daemon_config_t: everything is the default. */
#define CTRD_DAEMON_CONFIG_INIT \
    { sizeof(ctrd_daemon_config_t), NULL, NULL, NULL, 0, 0 }

/**
 * Initialises a ctrd_daemon_config_t as CTRD_DAEMON_CONFIG_INIT does, for languages without macros.
 *
 * @param config  the struct; NULL does nothing.
 * @param size    its size in bytes, as the caller's header has it.
 *
 * Threads: any. Since: 0.1.
 */
void ctrd_daemon_config_init(ctrd_daemon_config_t *config, size_t size);

/**
 * Starts a private containerd, and waits until it answers and its plugins are loaded. What a failed
 * start has made is removed, which may take up to 10 s beyond the call's timeout.
 *
 * When this process dies, the kernel kills containerd; with CTRD_DAEMON_OUTLIVE it runs on,
 * unsupervised (unless a service manager ends it with the process's control group). Either way its
 * containers live on, and the next daemon in the same directory has them: it ends a containerd that
 * still runs there and starts its own. While the owner lives a second daemon in the directory is
 * refused.
 *
 * A container's id and namespace together must be unlike those of any other containerd's on the
 * machine, for runc's state and the cgroups are the machine's.
 *
 * @param config  how it is to run.
 * @param call    bounds of the call; NULL: the default, at most 20 s.
 * @param out     receives the daemon, which the caller owns: ctrd_daemon_free().
 * @param err     receives the error, or NULL.
 * @return CTRD_OK; CTRD_E_INVALID_ARGUMENT, also for a directory that cannot be used;
 *         CTRD_E_NOT_FOUND where containerd, its shim or runc is not installed;
 *         CTRD_E_FAILED_PRECONDITION where another daemon runs in the directory, or containerd ended
 *         before it was ready; CTRD_E_PERMISSION_DENIED, also where the binary
 *         that is named cannot be run; CTRD_E_IO; CTRD_E_TIMEOUT; CTRD_E_CANCELLED; CTRD_E_FORKED.
 *
 * Blocking: until the daemon is ready. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_daemon_start(
    const ctrd_daemon_config_t *config, const ctrd_call_t *call, ctrd_daemon_t **out,
    ctrd_error_t **err);

/**
 * The address of a private containerd's socket, for ctrd_client_config_t.
 *
 * @param daemon  the daemon; NULL gives NULL.
 * @return the text, borrowed from the daemon.
 *
 * Threads: any. Since: 0.1.
 */
const char *ctrd_daemon_address(const ctrd_daemon_t *daemon);

/**
 * The process id of a private containerd: another after each restart.
 *
 * @param daemon  the daemon; NULL gives 0.
 * @return the id; 0 while none runs, and in a child of the process that started it.
 *
 * Threads: any. Since: 0.1.
 */
uint32_t ctrd_daemon_pid(const ctrd_daemon_t *daemon);

/**
 * How many times a private containerd that had died was started again, or could not be. A number
 * that keeps growing is a containerd that does not come up; what it dies of goes to the log hook.
 *
 * @param daemon  the daemon; NULL gives 0.
 * @return the number; 0 in a child of the process that started it.
 *
 * Threads: any. Since: 0.1.
 */
uint64_t ctrd_daemon_restarts(const ctrd_daemon_t *daemon);

/**
 * Stops a private containerd: its containers are killed and deleted, then it is ended, and its
 * directory is removed with all that is in it, but for files that are not its own. So it does where
 * containerd is dead. Stopping it again does nothing; after a failure it goes on, and meanwhile
 * nothing is started again. The handle stays valid until ctrd_daemon_free().
 *
 * The call's timeout and cancel handle end the wait for processes; one that the kernel does not
 * end although it was killed is waited for up to 5 s more. The files are removed however long it
 * takes.
 *
 * @param daemon  the daemon.
 * @param call    bounds of the call; NULL: the default, at most 60 s until the files are removed.
 * @param err     receives the error, or NULL.
 * @return CTRD_OK; CTRD_E_INVALID_ARGUMENT; CTRD_E_TIMEOUT; CTRD_E_CANCELLED; CTRD_E_IO;
 *         CTRD_E_FORKED.
 *
 * Blocking: until it has ended and its files are removed. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_daemon_stop(
    const ctrd_daemon_t *daemon, const ctrd_call_t *call, ctrd_error_t **err);

/**
 * Frees a private containerd, and stops it if that has not been done. With CTRD_DAEMON_OUTLIVE one
 * that no call has begun to stop runs on, unsupervised. In a child of the process that started it,
 * nothing is stopped.
 *
 * @param daemon  the daemon, which the call takes; NULL does nothing.
 *
 * Blocking: as ctrd_daemon_stop() does by default; at most 5 s where it runs on. Threads: owner.
 * Since: 0.1.
 */
void ctrd_daemon_free(ctrd_daemon_t *daemon);

/* Log ---------------------------------------------------------------------------------------------
 *
 * The library never prints. What it has to say beside the results of calls goes to a hook, if one
 * is set.
 */

/** Nothing is logged. */
#define CTRD_LOG_OFF 0
/** What should not happen. */
#define CTRD_LOG_ERROR 1
/** What may be of harm. */
#define CTRD_LOG_WARN 2
/** What is done, in large. */
#define CTRD_LOG_INFO 3
/** What is done, in detail; also each call that fails. */
#define CTRD_LOG_DEBUG 4
/** Everything. */
#define CTRD_LOG_TRACE 5

/**
 * Receives what the library logs.
 *
 * It runs on the thread that has something to say, which may be one of the library's, and several
 * threads may run it at once. It must return soon, and must not call functions of this library
 * that can fail: they answer CTRD_E_REENTRANT. Both texts are borrowed for the time of the call.
 *
 * @param userdata  what ctrd_set_log_hook() was given.
 * @param level     CTRD_LOG_ERROR to CTRD_LOG_TRACE.
 * @param target    the part of the library that speaks.
 * @param message   what it says: one line, without a newline at its end.
 */
typedef void (*ctrd_log_fn)(
    void *userdata, uint32_t level, const char *target, const char *message);

/**
 * Sets the hook that receives what the library logs, for the whole process, in the place of the one
 * that was set before. Without one, nothing is logged.
 *
 * @param level     how much: CTRD_LOG_ERROR to CTRD_LOG_TRACE, each with all that is graver;
 *                  CTRD_LOG_OFF removes the hook.
 * @param hook      the function; NULL removes the hook.
 * @param userdata  handed to it.
 * @param destroy   called exactly once with userdata, also where this function fails: when the hook
 *                  was replaced or removed and no thread runs it any more. May be NULL.
 * @param err       receives the error, or NULL.
 * @return CTRD_OK; CTRD_E_INVALID_ARGUMENT; CTRD_E_ALREADY_EXISTS in a Rust program that has set a
 *         logger of its own; CTRD_E_REENTRANT from inside the hook.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_set_log_hook(
    uint32_t level, ctrd_log_fn hook, void *userdata, ctrd_destroy_fn destroy, ctrd_error_t **err);

#ifdef __cplusplus
}
#endif

#endif /* CTRD_H */
