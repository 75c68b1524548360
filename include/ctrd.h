/*
 * ctrd.h - a blocking client of containerd
 *
 * libctrd creates, starts, recovers and destroys containers, waits for their exits, reports exits and other
 * events, pulls images, and manages snapshots. It does this through a containerd (1.6 or later). It makes
 * no thread for each container, prints nothing, and does not touch the program's signals, environment or
 * working directory. It needs Linux.
 *
 *     ctrd_client_t *client = NULL;
 *     ctrd_message_t *exit = NULL;
 *     ctrd_error_t *err = NULL;
 *     ctrd_container_config_t config = CTRD_CONTAINER_CONFIG_INIT;
 *
 *     config.id = "hello";
 *     config.image = "docker.io/library/busybox:latest";
 *     if (ctrd_client_open(NULL, NULL, &client, &err)
 *         || ctrd_create_container(client, &config, NULL, NULL, NULL, &err)
 *         || ctrd_probe(client, "hello", NULL, NULL, NULL, &exit, &err))
 *         fprintf(stderr, "%s\n", ctrd_error_text(err));
 *
 * Errors
 *     A function that can fail returns CTRD_OK (0) or a negative CTRD_E_ value. Its last parameter is a
 *     ctrd_error_t **, which may be NULL. Every call sets what it points to: to NULL on success, and on
 *     failure to an error that the caller owns. There is no hidden last error. ctrd_error_reason() tells apart
 *     what has the same status: with CTRD_E_NOT_FOUND it names the kind of object that is missing.
 *     An output that the caller is to own is set to NULL when the call begins, and stays NULL if the call
 *     fails. A number is written only on success.
 *
 * What any function can answer
 *     The comment of a function names only the errors that are special to it. Any function that can fail
 *     answers:
 *         CTRD_E_INVALID_ARGUMENT    if an argument is invalid; the message names it
 *         CTRD_E_FORKED              in a child of a process that has used the library ("Processes")
 *         CTRD_E_REENTRANT           inside the log hook ("Callbacks")
 *         CTRD_E_PANIC, CTRD_E_INTERNAL
 *                                    if there is an error in this library
 *     A function that takes a ctrd_call_t also answers:
 *         CTRD_E_TIMEOUT             if the call's time is over
 *         CTRD_E_CANCELLED           if the call's cancel handle was fired
 *         CTRD_E_WOULD_BLOCK         with CTRD_POLL, if it would have to wait
 *         CTRD_E_UNSUPPORTED         if the server is too old
 *         CTRD_E_IO                  if no descriptor or thread is left, or a system call fails
 *     And if it takes a client too:
 *         CTRD_E_CLOSED              if the client is closed
 *         CTRD_E_UNAVAILABLE         if containerd cannot be reached, or the connection breaks
 *         CTRD_E_PERMISSION_DENIED, CTRD_E_RESOURCE_EXHAUSTED, CTRD_E_PROTOCOL, CTRD_E_UNKNOWN
 *                                    if containerd answers so
 *     If the call is submitted, its completion reports most of these errors ("Submitting calls").
 *     A later version may answer with others.
 *
 * Ownership
 *     What a function gives through an output parameter belongs to the caller, who frees it with the
 *     function that the comment names. What a function returns is borrowed: it is valid as long as the
 *     handle that it comes from. The caller keeps what it passes in; the library has copied what it needs
 *     when the function returns. Handles may be freed in any order. Every _free function and every accessor
 *     accepts NULL.
 *     Accessors take a const handle. Functions that change something take one that is not const.
 *
 * Texts and structs
 *     A string is UTF-8 and ends with a NUL; other encodings are refused. A function that returns a text
 *     returns "" if there is none, so that the result can always be printed. Only ctrd_message_exec_id(),
 *     ctrd_container_info_label() and the elements beyond the end of a list are NULL.
 *     A struct that is passed in begins with its size. Initialise it with its _INIT macro or its _init
 *     function, and set what is to differ from the defaults. The library accepts the structs of an older
 *     header, and those of a later one whose new members are zero. Unknown flags and constants are refused.
 *     The pointer of an array whose length is 0 is not looked at, and may be NULL.
 *
 * Calls
 *     A function that may block takes a const ctrd_call_t *: timeout, cancel handle, namespace, lease, and
 *     the queue and tag of a call that is submitted. NULL gives the defaults. With the defaults every call
 *     ends by itself except ctrd_probe(), ctrd_queue_next(), ctrd_pull_image(), and ctrd_destroy_container()
 *     and ctrd_restart_container() with a grace period or a time for the output of CTRD_FOREVER.
 *     CTRD_ERROR_OUTCOME_UNKNOWN says that a change may have been made although its call failed.
 *
 *     Some calls may take longer than their timeout, and their comments say so: to undo what a failure has
 *     left half done, or to remove the files of a private containerd. Nothing ends callbacks that run inside
 *     a call, or hooks inside ctrd_dispatch(): they are the program's own. ctrd_dispatch(),
 *     ctrd_client_free() and ctrd_daemon_free() may block although they take no ctrd_call_t. A program that
 *     cannot wait for the latter two calls ctrd_client_close() and ctrd_daemon_stop() first.
 *
 * Submitting calls
 *     A program that must not wait submits its calls. If a call names a queue, the function checks and copies
 *     its arguments and returns CTRD_OK without blocking. The operation then runs on a thread of the
 *     library's. When it is over, the queue receives one message of kind CTRD_KIND_DONE: the completion. It
 *     has the tag of the call, its outcome (ctrd_message_status(), ctrd_message_error()) and its result.
 *
 *         ctrd_call_t call = CTRD_CALL_INIT;
 *
 *         call.queue = queue;
 *         call.tag = 7;
 *         if (ctrd_pull_image(client, &config, &call, NULL, &err) != CTRD_OK)
 *             fprintf(stderr, "%s\n", ctrd_error_text(err));
 *
 *     And later, when ctrd_queue_fd() is readable and ctrd_queue_try_next() has given a message:
 *
 *         if (ctrd_message_kind(message) == CTRD_KIND_DONE && ctrd_message_tag(message) == 7)
 *             status = ctrd_message_take_image_info(message, &image, &err);
 *
 *     Every function that takes a ctrd_call_t can be submitted, except ctrd_queue_next() and ctrd_add_hook().
 *     Each call that was accepted has exactly one completion, also if it fails, is cancelled, or its client
 *     is closed. No completion is ever dropped, and none has the status CTRD_E_REENTRANT.
 *
 *     Results: every output except err must be NULL. The comment of an output names the function that takes
 *     the result out of the completion: ctrd_message_take_ and the name of the handle. Each result can be
 *     taken once. A process id and a generation stay in the message: ctrd_message_pid() and
 *     ctrd_message_generation(). If nobody takes a result, a thread of the library's releases it. The
 *     progress of a pull comes as messages of kind CTRD_KIND_PROGRESS with the tag of the call:
 *     ctrd_message_progress(). The queue drops them if it is full.
 *
 *     Inside a hook or a callback: a call that is submitted there does not run there. So a submitted
 *     ctrd_client_close() or ctrd_remove_hook() waits until the hook has returned, and only then completes.
 *
 *     Arguments: when the function has returned, the library has copied the strings and structs, and it has
 *     duplicated or taken the descriptors. A cancel handle may be freed at once: if it was not fired before,
 *     the call cannot be cancelled any more. A daemon's handle may also be freed at once after
 *     ctrd_daemon_stop() was submitted.
 *
 *     Refusals: if the function does not return CTRD_OK, nothing was submitted, and no message comes.
 *         CTRD_E_INVALID_ARGUMENT    if an output is not NULL, the timeout is CTRD_POLL, or a callback is
 *                                    given (its userdata is destroyed); and if an argument has a wrong form:
 *                                    NULL, not UTF-8, an unknown flag. If only the operation can judge it,
 *                                    as an id or a filter, this status comes in the completion.
 *         CTRD_E_TIMEOUT             if the call's deadline has passed
 *         CTRD_E_CANCELLED           if its cancel handle has been fired
 *         CTRD_E_CLOSED              if the client is closed
 *         CTRD_E_RESOURCE_EXHAUSTED  if too many calls are in flight
 *         CTRD_E_IO                  if no thread can be made
 *
 *     Times: the timeout of the call, or the default of the function, counts from the time at which the
 *     function returns. It includes the time that the call waits for a thread. If the timeout passes or the
 *     cancel handle is fired, a call that waits is completed within 100 ms, even if every thread is busy:
 *     with CTRD_E_TIMEOUT or CTRD_E_CANCELLED, or with CTRD_E_BUSY if another call changes its container.
 *
 *     Threads: all calls of the process share a pool of at most 16 threads (ctrd_set_call_threads()). One
 *     client holds at most half of them. Calls that may last long hold fewer: those of one client a quarter
 *     of the threads, those of all clients half. Such calls are pulls, destroys and restarts with a grace period, creates
 *     that have to unpack their image, ctrd_recover_all() and ctrd_client_close(). Another quarter is for
 *     calls that belong to no client: ctrd_client_open(), ctrd_daemon_start() and ctrd_daemon_stop(). A call
 *     that waits for an exit, for a hook that is removed, or for another call that changes its container,
 *     holds no thread. So pulls from a registry that does not answer can keep the destroys of their client
 *     waiting: give pulls a timeout, or a client of their own.
 *
 *     Limits: a client has at most max_calls submitted calls in flight (ctrd_client_config_t). Calls that
 *     belong to no client count towards the max_calls of their queue (ctrd_queue_config_t):
 *     ctrd_client_open() and ctrd_daemon_start(). A call counts until its completion is fetched from
 *     the queue. ctrd_probe(), ctrd_client_close() and ctrd_daemon_stop() do not count.
 *
 *     Order: completions arrive in the order in which the operations end. Calls of one client that change the
 *     same container run in the order in which they were submitted: those that create, start, pause, resume,
 *     restart, update, recover or destroy it, or set its labels. Other calls, such as ctrd_probe(), do not
 *     wait for a create that was submitted before them. In one queue, the completion of a call that starts a
 *     process comes before the exit of that process.
 *
 *     Closing: ctrd_client_close() completes the client's calls that wait with CTRD_E_CLOSED, and waits for
 *     those that run. All their completions come before that of a submitted ctrd_client_close().
 *     ctrd_client_free() closes the client too. ctrd_queue_free() frees the messages that the queue holds,
 *     with their results. Calls that are under way run on, and their results are released. A message that was
 *     fetched stays valid until it is freed.
 *
 * Callbacks
 *     A callback comes with a userdata pointer, and with a function that destroys the userdata. That function
 *     is called exactly once, when the callback is not needed any more, also if the call fails. Callbacks
 *     must return: no exception, no longjmp. The library holds no lock while one runs. A callback may call
 *     every function except those that would wait for themselves, which answer CTRD_E_REENTRANT:
 *         in a hook                  ctrd_dispatch()
 *         in a callback of a call    ctrd_client_close() of the same client, unless it is submitted
 *         in the log hook            every function that can fail
 *     A hook receives messages about exits or events. It runs on a thread of the library's, where every
 *     signal is blocked, or on a thread of the program's inside ctrd_dispatch(). When ctrd_remove_hook() or
 *     ctrd_client_close() has returned CTRD_OK, the hook does not run any more and its userdata is
 *     destroyed. Inside a hook these two return at once, so that two hooks that remove each other do not
 *     wait for each other; the userdata is destroyed when the removed hook has returned.
 *
 * Events in the program's own loop
 *     ctrd_queue_fd() and ctrd_dispatch_fd() give descriptors for poll, epoll or select. They are readable
 *     while there is a message to fetch from the queue, or a hook to run by ctrd_dispatch(). One queue can
 *     serve a whole process: it takes the exits and events of any number of clients, the progress of pulls,
 *     and the completions of submitted calls.
 *
 * Processes
 *     A program that forks opens its client, starts its private containerd, or submits its first call, after
 *     it has forked. If it did so before, the library cannot be used in the child: functions answer
 *     CTRD_E_FORKED, accessors still read what the parent received, and _free functions do not touch what the
 *     parent still uses. Nothing in such a child takes a lock, logs, or runs a hook, so no call can hang
 *     there.
 *     Before that it may call anything else, as daemons do: versions, _init functions, cancel handles,
 *     queues, the log hook. Cancel handles and queues are of use only in the process that made them.
 *     The library's threads block every signal, and its descriptors are close-on-exec. dlclose() is allowed
 *     and has no effect: the library stays loaded.
 *
 * Threads
 *     From any thread, at the same time as any other function on the same handle:
 *         ctrd_status_name ctrd_error_status ctrd_error_reason ctrd_error_text ctrd_error_message
 *         ctrd_error_operation ctrd_error_subject ctrd_error_step ctrd_error_grpc_code
 *         ctrd_error_errno ctrd_error_flags ctrd_error_cause ctrd_forever ctrd_poll
 *         ctrd_cancel_new ctrd_call_init ctrd_set_call_threads ctrd_client_config_init
 *         ctrd_client_open ctrd_message_take_client ctrd_client_close ctrd_counters_init
 *         ctrd_client_counters ctrd_library_version ctrd_library_version_number ctrd_has_feature
 *         ctrd_version ctrd_message_take_version_info ctrd_version_info_version
 *         ctrd_version_info_revision ctrd_progress_list_len ctrd_progress_list_get
 *         ctrd_progress_reference ctrd_progress_status ctrd_progress_offset ctrd_progress_total
 *         ctrd_progress_started_at ctrd_progress_updated_at ctrd_message_kind ctrd_message_tag
 *         ctrd_message_status ctrd_message_pid ctrd_message_origin ctrd_message_seq
 *         ctrd_message_namespace ctrd_message_container_id ctrd_message_exec_id
 *         ctrd_message_generation ctrd_message_output_lost ctrd_message_exit_code
 *         ctrd_message_exit_time ctrd_message_error ctrd_message_start_error ctrd_message_topic
 *         ctrd_message_json ctrd_message_progress ctrd_message_event_time ctrd_message_dropped
 *         ctrd_message_take_message ctrd_message_ref ctrd_io_init ctrd_container_config_init
 *         ctrd_create_container ctrd_start_container ctrd_probe_config_init ctrd_probe
 *         ctrd_watch_container ctrd_destroy_config_init ctrd_destroy_container ctrd_container_pid
 *         ctrd_container_pids ctrd_message_take_pid_list ctrd_pid_list_len ctrd_pid_list_get
 *         ctrd_pid_list_exec_id ctrd_get_container ctrd_message_take_container_info
 *         ctrd_list_containers ctrd_message_take_container_info_list ctrd_container_info_id
 *         ctrd_container_info_image ctrd_container_info_runtime ctrd_container_info_snapshotter
 *         ctrd_container_info_snapshot_key ctrd_container_info_owner ctrd_container_info_cleanup
 *         ctrd_container_info_labels_len ctrd_container_info_label_key
 *         ctrd_container_info_label_value ctrd_container_info_label ctrd_container_info_terminal
 *         ctrd_container_info_generation ctrd_container_info_status ctrd_container_info_pid
 *         ctrd_container_info_exit_code ctrd_container_info_exit_time
 *         ctrd_container_info_created_at ctrd_container_info_updated_at
 *         ctrd_container_info_list_len ctrd_container_info_list_get ctrd_exec_config_init
 *         ctrd_exec_container ctrd_message_take_exec_info ctrd_exec_info_id ctrd_exec_info_pid
 *         ctrd_kill_config_init ctrd_kill_container ctrd_signal_number ctrd_pause_config_init
 *         ctrd_pause_container ctrd_resume_container ctrd_restart_config_init
 *         ctrd_restart_container ctrd_update_config_init ctrd_update_container
 *         ctrd_set_container_labels ctrd_container_stats ctrd_message_take_stats ctrd_list_stats
 *         ctrd_message_take_stats_list ctrd_stat_name ctrd_stats_get ctrd_stats_container_id
 *         ctrd_stats_error ctrd_stats_time ctrd_stats_cgroup_version ctrd_stats_json
 *         ctrd_stats_raw_type ctrd_stats_raw_data ctrd_stats_raw_len ctrd_stats_list_len
 *         ctrd_stats_list_get ctrd_recover_container ctrd_message_take_recovery ctrd_recover_all
 *         ctrd_message_take_recovery_list ctrd_recovery_id ctrd_recovery_state ctrd_recovery_pid
 *         ctrd_recovery_generation ctrd_recovery_exit_code ctrd_recovery_error
 *         ctrd_recovery_list_len ctrd_recovery_list_get ctrd_hook_config_init ctrd_add_hook
 *         ctrd_remove_hook ctrd_dispatch_fd ctrd_dispatch ctrd_queue_config_init ctrd_queue_new
 *         ctrd_subscription_config_init ctrd_queue_subscribe ctrd_message_take_subscription
 *         ctrd_queue_fd ctrd_queue_next ctrd_queue_try_next ctrd_get_image
 *         ctrd_message_take_image_info ctrd_list_images ctrd_message_take_image_info_list
 *         ctrd_remove_image ctrd_image_info_name ctrd_image_info_id ctrd_image_info_digest
 *         ctrd_image_info_media_type ctrd_image_info_size ctrd_image_info_labels_len
 *         ctrd_image_info_label_key ctrd_image_info_label_value ctrd_image_info_created_at
 *         ctrd_image_info_updated_at ctrd_image_info_list_len ctrd_image_info_list_get
 *         ctrd_progress_callback_new ctrd_pull_config_init ctrd_pull_image ctrd_get_snapshot
 *         ctrd_message_take_snapshot_info ctrd_remove_snapshot ctrd_snapshot_info_name
 *         ctrd_snapshot_info_parent ctrd_snapshot_info_kind ctrd_snapshot_info_labels_len
 *         ctrd_snapshot_info_label_key ctrd_snapshot_info_label_value
 *         ctrd_snapshot_info_created_at ctrd_snapshot_info_updated_at ctrd_default_spec
 *         ctrd_image_spec ctrd_message_take_string ctrd_daemon_config_init ctrd_daemon_start
 *         ctrd_message_take_daemon ctrd_daemon_address ctrd_daemon_pid ctrd_daemon_restarts
 *         ctrd_daemon_stop ctrd_set_log_hook
 *     Like these, and also from a signal handler:
 *         ctrd_cancel_fire
 *     From one thread, when no other thread uses the handle any more:
 *         ctrd_error_free ctrd_cancel_free ctrd_client_free ctrd_version_info_free
 *         ctrd_message_free ctrd_pid_list_free ctrd_container_info_free
 *         ctrd_container_info_list_free ctrd_exec_info_free ctrd_stats_free ctrd_stats_list_free
 *         ctrd_recovery_free ctrd_recovery_list_free ctrd_subscription_free ctrd_queue_free
 *         ctrd_image_info_free ctrd_image_info_list_free ctrd_progress_callback_free
 *         ctrd_snapshot_info_free ctrd_string_free ctrd_daemon_free
 *
 * Generated from ffi/src by "make header". Licence: Apache-2.0.
 */
#ifndef CTRD_H
#define CTRD_H

#include <stddef.h>
#include <stdint.h>

/** The header's version; ctrd_library_version_number() gives the library's. */
#define CTRD_VERSION_MAJOR 0
#define CTRD_VERSION_MINOR 1
#define CTRD_VERSION_PATCH 0
/** The header's version as one number: major * 10000 + minor * 100 + patch. */
#define CTRD_VERSION_NUMBER 100
/** The header's version as text. */
#define CTRD_VERSION_STRING "0.1.0"

/* Makes the compiler warn if a program ignores the status of a call. A program that does not want that
 * defines it as nothing before it includes this file. */
#ifndef CTRD_CHECK
#if defined(__GNUC__)
#define CTRD_CHECK __attribute__((warn_unused_result))
#else
#define CTRD_CHECK
#endif
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Handles -----------------------------------------------------------------------------------------
 *
 * A handle points to something that only the library can read. The sections below describe them.
 */

/** Why a call failed. */
typedef struct ctrd_error_t ctrd_error_t;
/** Ends the calls that it is given to. Once it is fired, it stays fired. */
typedef struct ctrd_cancel_t ctrd_cancel_t;
/** A connection to a containerd. */
typedef struct ctrd_client_t ctrd_client_t;
/** The version of a server. */
typedef struct ctrd_version_info_t ctrd_version_info_t;
/** The state of everything that a pull fetches. */
typedef struct ctrd_progress_list_t ctrd_progress_list_t;
/** The state of one item of a pull. */
typedef struct ctrd_progress_t ctrd_progress_t;
/** A report about a process, an event, a pull, a submitted call, or messages that are missing. */
typedef struct ctrd_message_t ctrd_message_t;
/** The process ids of a container, in the host's pid namespace. */
typedef struct ctrd_pid_list_t ctrd_pid_list_t;
/** Several containers, as containerd knows them. */
typedef struct ctrd_container_info_list_t ctrd_container_info_list_t;
/** A container, as containerd knows it. */
typedef struct ctrd_container_info_t ctrd_container_info_t;
/** An exec that was started. */
typedef struct ctrd_exec_info_t ctrd_exec_info_t;
/** The statistics of several containers. */
typedef struct ctrd_stats_list_t ctrd_stats_list_t;
/** The statistics of a container. */
typedef struct ctrd_stats_t ctrd_stats_t;
/** The outcomes of a recovery, one for each container. */
typedef struct ctrd_recovery_list_t ctrd_recovery_list_t;
/** The outcome of the recovery of a container. */
typedef struct ctrd_recovery_t ctrd_recovery_t;
/** Messages that wait until they are fetched. */
typedef struct ctrd_queue_t ctrd_queue_t;
/** A subscription of a queue to the messages of a client. */
typedef struct ctrd_subscription_t ctrd_subscription_t;
/** Several images, as containerd knows them. */
typedef struct ctrd_image_info_list_t ctrd_image_info_list_t;
/** An image, as containerd knows it. */
typedef struct ctrd_image_info_t ctrd_image_info_t;
/** A callback for the progress of pulls. */
typedef struct ctrd_progress_callback_t ctrd_progress_callback_t;
/** A snapshot, as its snapshotter knows it. */
typedef struct ctrd_snapshot_info_t ctrd_snapshot_info_t;
/** A private containerd. */
typedef struct ctrd_daemon_t ctrd_daemon_t;

/* Status values -----------------------------------------------------------------------------------
 *
 * Every function that can fail returns one of these. Later versions add values, and never change one.
 */

/** The outcome of a call: CTRD_OK, or one of the negative CTRD_E_ values. */
typedef int32_t ctrd_status_t;

/** The call succeeded. */
#define CTRD_OK 0

/** An argument is invalid; the message names it. */
#define CTRD_E_INVALID_ARGUMENT (-1)
/** The object does not exist. */
#define CTRD_E_NOT_FOUND (-2)
/** The object exists already. */
#define CTRD_E_ALREADY_EXISTS (-3)
/** The object is not in the state that the operation needs. */
#define CTRD_E_FAILED_PRECONDITION (-4)
/** The operating system, the server or the registry does not allow it. */
#define CTRD_E_PERMISSION_DENIED (-5)
/** The registry wants other credentials. */
#define CTRD_E_UNAUTHENTICATED (-6)
/** The server cannot be reached, the connection broke, or the server cancelled the call. */
#define CTRD_E_UNAVAILABLE (-7)
/** The call's time is over. */
#define CTRD_E_TIMEOUT (-8)
/** The call's cancel handle was fired. */
#define CTRD_E_CANCELLED (-9)
/** Another operation is changing the container; the message names it. */
#define CTRD_E_BUSY (-10)
/** The call would have to wait, and may not (CTRD_POLL). */
#define CTRD_E_WOULD_BLOCK (-11)
/** The client is closed. */
#define CTRD_E_CLOSED (-12)
/** This process is a child of the one that made the handle, or that used the library. */
#define CTRD_E_FORKED (-13)
/** The call would wait for itself. */
#define CTRD_E_REENTRANT (-14)
/** The server, the kernel or this library cannot do it. */
#define CTRD_E_UNSUPPORTED (-15)
/** A limit is reached: memory, the size of a message, calls in flight, a quota. */
#define CTRD_E_RESOURCE_EXHAUSTED (-16)
/** The server gave up because of a conflict. */
#define CTRD_E_ABORTED (-17)
/** A position or number is out of range. */
#define CTRD_E_OUT_OF_RANGE (-18)
/** Data is damaged: a digest or a size is wrong. */
#define CTRD_E_DATA_LOSS (-19)
/** A system call failed; ctrd_error_errno() says how. */
#define CTRD_E_IO (-20)
/** The server or the registry answered with something that its protocol does not allow. */
#define CTRD_E_PROTOCOL (-21)
/** There is an error in this library. */
#define CTRD_E_INTERNAL (-22)
/** runc, the shim or containerd failed, and did not say how. */
#define CTRD_E_UNKNOWN (-23)
/** There is an error in this library: it panicked, and the panic was caught. */
#define CTRD_E_PANIC (-24)

/* Errors ------------------------------------------------------------------------------------------
 *
 * A failed call gives an error. It belongs to the caller, who frees it with ctrd_error_free(). Its
 * texts are borrowed from it.
 */

/** The same call may succeed if it is made again, unchanged. */
#define CTRD_ERROR_RETRYABLE 1
/** The change may have been made although the call failed: look before you repeat it. */
#define CTRD_ERROR_OUTCOME_UNKNOWN 2

/** A reason: no container has this id. */
#define CTRD_REASON_NO_CONTAINER 1

/**
 * A reason: the container exists. It has no task, and its record does not say how its process ended.
 */
#define CTRD_REASON_NO_TASK 2
/** A reason: no image has this name. */
#define CTRD_REASON_NO_IMAGE 3

/**
 * A reason: containerd does not have all the content of the image: a pull was not completed, or was one
 * of another platform.
 */
#define CTRD_REASON_NO_CONTENT 4
/** A reason: no snapshot has this key, or the snapshot that it is made from does not exist. */
#define CTRD_REASON_NO_SNAPSHOT 5
/** A reason: containerd has no snapshotter of this name. */
#define CTRD_REASON_NO_SNAPSHOTTER 6
/** A reason: containerd cannot find the runtime's program. */
#define CTRD_REASON_NO_RUNTIME 7
/** A reason: the call's lease does not exist. */
#define CTRD_REASON_NO_LEASE 8
/** A reason: the container belongs to another owner, or to none. */
#define CTRD_REASON_OTHER_OWNER 9

/**
 * A reason: the container's shim died a moment ago, and containerd has not cleaned up after it yet.
 */
#define CTRD_REASON_SHIM_DIED 10
/** A reason: another client writes the content of the image at the moment. */
#define CTRD_REASON_CONTENT_LOCKED 11
/** A process could not be started: there is no such program in the container. */
#define CTRD_REASON_PROGRAM_NOT_FOUND 12
/** A process could not be started: it may not execute the program, or the file is none. */
#define CTRD_REASON_PROGRAM_NOT_EXECUTABLE 13
/** A process could not be started for another reason, which the message says. */
#define CTRD_REASON_START_FAILED 14

/**
 * The name of a status value, as in "CTRD_E_NOT_FOUND".
 *
 * @param status  the value.
 * @return the name, which is constant; "unknown status" for a value that this library does not have.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
const char *ctrd_status_name(ctrd_status_t status);

/**
 * The status that the failed call returned.
 *
 * @param error  the error; NULL gives CTRD_OK.
 * @return one of the CTRD_E_ values.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
ctrd_status_t ctrd_error_status(const ctrd_error_t *error);

/**
 * The exact reason, if the status alone leaves it open. Of CTRD_E_NOT_FOUND it says which kind of object
 * is missing.
 *
 * @param error  the error; NULL gives 0.
 * @return one of the CTRD_REASON_ values; 0 if the status is all that is known. A later version may add
 *         some, also to errors that have none now.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
uint32_t ctrd_error_reason(const ctrd_error_t *error);

/**
 * The whole error as one line for a log: operation, subject, step and message. If it repeats something
 * very long, "…" (in UTF-8) stands for a part that is left out.
 *
 * @param error  the error; NULL gives "".
 * @return the text, borrowed from the error.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
const char *ctrd_error_text(const ctrd_error_t *error);

/**
 * The text of the error, without operation, subject and step. If an argument is invalid, the message begins
 * with its name and a colon.
 *
 * @param error  the error; NULL gives "".
 * @return the text, borrowed from the error.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
const char *ctrd_error_message(const ctrd_error_t *error);

/**
 * The operation that failed: its function's name without "ctrd_", as in "create_container".
 *
 * @param error  the error; NULL gives "".
 * @return the name, borrowed from the error; "" for a cause that is not an operation.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
const char *ctrd_error_operation(const ctrd_error_t *error);

/**
 * The object of the operation: a container's id, an image's reference, an address.
 *
 * @param error  the error; NULL gives "".
 * @return the name, borrowed from the error; "" if the operation failed while it read its arguments.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
const char *ctrd_error_subject(const ctrd_error_t *error);

/**
 * The step of the operation that failed, as in "prepare the snapshot".
 *
 * @param error  the error; NULL gives "".
 * @return the step, borrowed from the error; "" if the operation has no steps, or failed before the
 *         first.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
const char *ctrd_error_step(const ctrd_error_t *error);

/**
 * The gRPC status code that the server answered with (1 to 16).
 *
 * @param error  the error; NULL gives 0.
 * @return the code; 0 if the error is not an answer of the server.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
int32_t ctrd_error_grpc_code(const ctrd_error_t *error);

/**
 * The error number of the system call that failed, as in errno.h.
 *
 * @param error  the error; NULL gives 0.
 * @return the number; 0 if no system call failed.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
int32_t ctrd_error_errno(const ctrd_error_t *error);

/**
 * Flags that say what a caller can do about the error: CTRD_ERROR_RETRYABLE, CTRD_ERROR_OUTCOME_UNKNOWN, both or
 * neither.
 *
 * @param error  the error; NULL gives 0.
 * @return the flags; a later version may add some.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
uint32_t ctrd_error_flags(const ctrd_error_t *error);

/**
 * The error that caused this one.
 *
 * @param error  the error; NULL gives NULL.
 * @return the cause, borrowed from the error and not to be freed; NULL if there is none.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
const ctrd_error_t *ctrd_error_cause(const ctrd_error_t *error);

/**
 * Frees an error with its texts and its causes.
 *
 * @param error  the error; NULL does nothing.
 *
 * Blocking: no. Threads: owner. Since: 0.1.
 */
void ctrd_error_free(ctrd_error_t *error);

/* Times -------------------------------------------------------------------------------------------
 *
 * Durations and timeouts are int64_t, in milliseconds. As a timeout, 0 is the default of the function;
 * CTRD_FOREVER waits without an end; CTRD_POLL does not wait at all: a function that would have to wait
 * answers CTRD_E_WOULD_BLOCK. Any other negative value is a deadline that has passed: the function does
 * nothing, and answers CTRD_E_TIMEOUT. So a program with a deadline gives CTRD_REMAINING(deadline, now).
 */

/** As a timeout: wait without an end. As a grace period: no SIGKILL. */
#define CTRD_FOREVER ((int64_t)(~(uint64_t)0 >> 1))
/** As a timeout: do not wait at all. */
#define CTRD_POLL (-CTRD_FOREVER - 1)
/**
 * As a timeout: the time until a deadline, where deadline and now are milliseconds of the same clock. If
 * no time is left it is -1, a deadline that has passed; 0 would be the default.
 */
#define CTRD_REMAINING(deadline, now) \
    ((deadline) > (now) ? (int64_t)(deadline) - (int64_t)(now) : (int64_t)-1)

/** A point in time, in UTC. */
typedef struct ctrd_time_t {
    /** Seconds since 1970-01-01 00:00:00; negative before. */
    int64_t seconds;
    /** Nanoseconds after that second, 0 to 999999999. */
    uint32_t nanoseconds;
    /** Always 0. */
    uint32_t reserved;
} ctrd_time_t;

/**
 * The value of CTRD_FOREVER, for languages without macros.
 *
 * @return CTRD_FOREVER.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
int64_t ctrd_forever(void);

/**
 * The value of CTRD_POLL, for languages without macros.
 *
 * @return CTRD_POLL.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
int64_t ctrd_poll(void);

/* Callbacks ---------------------------------------------------------------------------------------
 *
 * A callback comes with a pointer that it receives, and with a function that destroys what the pointer
 * means: it is called exactly once, when the callback is not needed any more. Callbacks must return:
 * they must not throw exceptions, longjmp, or end their thread.
 */

/**
 * Destroys the userdata of a callback, once. It runs on the thread that gives the callback up, which may
 * be one of the library's, and may call what a hook may call. If it destroys the userdata of a hook, it
 * counts as a part of that hook: nothing that it removes or closes is waited for.
 *
 * @param userdata  the pointer that was given with the callback.
 */
typedef void (*ctrd_destroy_fn)(void *userdata);

/* Cancelling --------------------------------------------------------------------------------------
 *
 * A cancel handle ends calls from another thread or from a signal handler.
 */

/**
 * Makes a cancel handle. It takes no descriptor. It may be given to any number of calls, at the same time
 * and one after the other. A handle that was made before the process forked is of no use in the child:
 * make one there.
 *
 * @param out  receives the handle, which the caller owns: ctrd_cancel_free().
 * @param err  receives the error, or NULL.
 * @return CTRD_OK.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_cancel_new(ctrd_cancel_t **out, ctrd_error_t **err);

/**
 * Fires a cancel handle: the calls that have it end with CTRD_E_CANCELLED, and so does every later call
 * that is given it. It leaves errno unchanged. In a child of the process that made the handle it does
 * nothing.
 *
 * @param cancel  the handle; NULL does nothing.
 *
 * Blocking: no. Threads: signal. Since: 0.1.
 */
void ctrd_cancel_fire(ctrd_cancel_t *cancel);

/**
 * Frees a cancel handle. Calls that have it go on; if it was not fired, they can no longer be cancelled.
 *
 * @param cancel  the handle; NULL does nothing.
 *
 * Blocking: no. Threads: owner. Since: 0.1.
 */
void ctrd_cancel_free(ctrd_cancel_t *cancel);

/* Calls -------------------------------------------------------------------------------------------
 *
 * Every function that may block takes a ctrd_call_t, which limits the call. NULL gives the defaults.
 */

/**
 * The limits of one call, and the namespace and lease that it uses. All-zero gives the defaults.
 */
typedef struct ctrd_call_t {
    /** sizeof(ctrd_call_t). */
    size_t size;
    /**
     * Ends the call when it is fired. If the call changes something, its error then has
     * CTRD_ERROR_OUTCOME_UNKNOWN unless the change was certainly not made. NULL: none. Only borrowed.
     */
    const ctrd_cancel_t *cancel;
    /** The namespace of the call. NULL: the client's. */
    const char *namespace_name;
    /** A lease of the caller's. What the call makes is held by it. NULL: none. */
    const char *lease;
    /**
     * The call is submitted: it runs on a thread of the library's, and this queue receives its outcome
     * ("Submitting calls"). NULL: the function returns when the call is over. Only borrowed.
     */
    ctrd_queue_t *queue;
    /** Must be 0. */
    size_t reserved;
    /**
     * How long the call may take, in milliseconds. 0: as long as its function's comment says;
     * CTRD_FOREVER; CTRD_POLL; any other negative value: CTRD_E_TIMEOUT at once.
     */
    int64_t timeout_ms;
    /** The tag of the messages of a submitted call: ctrd_message_tag(). Any value. */
    uint64_t tag;
} ctrd_call_t;

/** Initialises a ctrd_call_t: everything is the default. */
#define CTRD_CALL_INIT \
    { sizeof(ctrd_call_t), NULL, NULL, NULL, NULL, 0, 0, 0 }

/**
 * Initialises a ctrd_call_t as CTRD_CALL_INIT does, for languages without macros.
 *
 * @param call  the struct; NULL does nothing.
 * @param size  its size in bytes, by the caller's header.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
void ctrd_call_init(ctrd_call_t *call, size_t size);

/**
 * Sets how many threads submitted calls run on at most, in the whole process. The threads are made when
 * they are needed, and end after a second without work. If more threads run than the new number, they end
 * when their calls do. A program may call this function before it forks.
 *
 * @param threads  the number: 4 to 1024. Without this call it is 16.
 * @param err      receives the error, or NULL.
 * @return CTRD_OK.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_set_call_threads(uint32_t threads, ctrd_error_t **err);

/* The client --------------------------------------------------------------------------------------
 *
 * A client is a connection to a containerd. Most functions take one first. Any number of threads may use
 * it at once, so one is enough for a program.
 */

/**
 * A client's flag: containerd 1.7 and 2.x, which forget the processes that have ended when they are
 * restarted, keep those of the containers that this client creates. To that end the client records a
 * sandbox with the container's id, which other clients see in their lists. containerd 1.6 does not
 * forget, and the flag changes nothing there.
 */
#define CTRD_CLIENT_KEEP_STOPPED_TASKS 1

/** How a client is opened. All-zero gives the defaults. The strings are only borrowed. */
typedef struct ctrd_client_config_t {
    /** sizeof(ctrd_client_config_t). */
    size_t size;
    /**
     * containerd's socket: an absolute path without a comma, or "unix:" and such a path. NULL:
     * /run/containerd/containerd.sock.
     */
    const char *address;
    /** The namespace of calls that do not name one. NULL: "default". */
    const char *namespace_name;
    /**
     * The name of this program among the users of the same containerd. The client labels what it makes
     * with it, and takes over only what has it. NULL: "ctrd".
     */
    const char *owner;
    /** The snapshotter of calls that do not name one. NULL: "overlayfs". */
    const char *snapshotter;
    /**
     * The directory of the FIFOs of containers: an absolute path that means the same directory to
     * containerd's shims. The client makes it with mode 0700 when it first needs it. NULL: /run/ctrd.
     */
    const char *state_dir;
    /**
     * The timeout, in milliseconds, of calls that do not name one and whose function has none of its
     * own. 0: 30000; CTRD_FOREVER.
     */
    int64_t call_timeout_ms;
    /** CTRD_CLIENT_KEEP_STOPPED_TASKS, or 0. */
    uint64_t flags;
    /**
     * How many submitted calls of the client may be in flight; completions that nobody has fetched
     * count. 0: 1024.
     */
    uint32_t max_calls;
    /** Must be 0. */
    uint32_t reserved;
} ctrd_client_config_t;

/** Initialises a ctrd_client_config_t: everything is the default. */
#define CTRD_CLIENT_CONFIG_INIT \
    { sizeof(ctrd_client_config_t), NULL, NULL, NULL, NULL, NULL, 0, 0, 0, 0 }

/** The counters of a client since it was opened. */
typedef struct ctrd_counters_t {
    /** sizeof(ctrd_counters_t). */
    size_t size;
    /** Always 0. */
    size_t reserved;
    /**
     * How often a connection broke. Each subscription to events counts for itself; waits for exits that
     * broke off within one second count once.
     */
    uint64_t reconnects;
    /**
     * How many processes were looked up successfully, because a connection broke or because an answer
     * left a doubt.
     */
    uint64_t reconciled;
    /** How many messages were dropped because a queue or a hook was full. */
    uint64_t dropped;
    /** How many processes are watched now whose exit is not known. */
    uint64_t outstanding;
    /**
     * How many bytes of output of containers did not reach the program's descriptors, because a
     * descriptor failed, or because the streams were closed while a reader was behind: by a destroy, a
     * clean-up, another client that removed the container, or the close of the client.
     */
    uint64_t output_lost;
} ctrd_counters_t;

/** Initialises a ctrd_counters_t: everything is the default. */
#define CTRD_COUNTERS_INIT \
    { sizeof(ctrd_counters_t), 0, 0, 0, 0, 0, 0 }

/**
 * Initialises a ctrd_client_config_t as CTRD_CLIENT_CONFIG_INIT does, for languages without macros.
 *
 * @param config  the struct; NULL does nothing.
 * @param size    its size in bytes, by the caller's header.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
void ctrd_client_config_init(ctrd_client_config_t *config, size_t size);

/**
 * Opens a client, and makes sure that a containerd answers. The first client starts threads of the
 * library, so a daemon opens it after it has forked.
 *
 * @param config  how to open it; NULL: the defaults.
 * @param call    limits of the call; NULL: the defaults (at most 10 s).
 * @param out     receives the client, which the caller owns: ctrd_client_free(). A submitted call gives
 *                it by ctrd_message_take_client().
 * @param err     receives the error, or NULL.
 * @return CTRD_OK; CTRD_E_INVALID_ARGUMENT also if the address is not that of a socket;
 *         CTRD_E_NOT_FOUND if there is no socket; CTRD_E_PERMISSION_DENIED if the program may not use
 *         it; CTRD_E_UNAVAILABLE, at once, if no process listens at it, as while a private containerd
 *         of this library is being restarted; CTRD_E_TIMEOUT if containerd does not answer.
 *
 * Blocking: until the server has answered. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_client_open(
    const ctrd_client_config_t *config, const ctrd_call_t *call, ctrd_client_t **out,
    ctrd_error_t **err);

/**
 * Takes the client out of the completion of a submitted ctrd_client_open(). It works once, with any
 * handle of the message.
 *
 * @param message  the message.
 * @param out      receives the client, which the caller owns: ctrd_client_free().
 * @param err      receives the error, or NULL.
 * @return CTRD_OK; CTRD_E_FAILED_PRECONDITION if the message holds no such result, or it was taken
 *         before.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_message_take_client(
    ctrd_message_t *message, ctrd_client_t **out, ctrd_error_t **err);

/**
 * Closes a client. No further call begins. Calls that wait for an exit end with CTRD_E_CLOSED, and so do
 * submitted calls that wait. No hook is started any more. The function waits for the other calls that are
 * under way, for clean-ups (CTRD_CLEANUP_ALL) and for hooks that run; then it destroys the userdata of all
 * hooks. Each subscription's queue receives a message of kind CTRD_KIND_CLOSED. Containers keep running.
 * A second close does nothing, or goes on waiting. The handle stays valid until ctrd_client_free().
 *
 * Inside a hook it does not wait.
 *
 * @param client  the client.
 * @param call    limits of the call; NULL: the defaults (at most 10 s).
 * @param err     receives the error, or NULL.
 * @return CTRD_OK; CTRD_E_TIMEOUT, CTRD_E_WOULD_BLOCK or CTRD_E_CANCELLED if calls or clean-ups are
 *         still under way or a hook still runs; CTRD_E_REENTRANT in a callback of a call of the same
 *         client.
 *
 * Blocking: until no call is under way and no hook runs. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_client_close(
    ctrd_client_t *client, const ctrd_call_t *call, ctrd_error_t **err);

/**
 * Frees a client, and closes it first if it is open. No other thread may use the handle any more, or be
 * in a call with it, except hooks: they are waited for, and may use it until they return. A hook that
 * does not return within 10 s is left to end by itself; its userdata is destroyed when it does, and it
 * must not use the client any more. Inside a hook the function returns at once. After that
 * no other hook may use the client. In a child of the process that opened the client it does nothing.
 *
 * @param client  the client; NULL does nothing.
 *
 * Blocking: until the client's threads have ended, at most 10 s. Threads: owner. Since: 0.1.
 */
void ctrd_client_free(ctrd_client_t *client);

/**
 * Initialises a ctrd_counters_t as CTRD_COUNTERS_INIT does, for languages without macros.
 *
 * @param counters  the struct; NULL does nothing.
 * @param size      its size in bytes, by the caller's header.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
void ctrd_counters_init(ctrd_counters_t *counters, size_t size);

/**
 * Gives what a client has counted. The struct's size says how much of it the caller's header knows; only
 * so much is written. Members that this library does not know become 0.
 *
 * @param client  the client; it may be closed.
 * @param out     receives the counters; initialised, so that its size is set.
 * @param err     receives the error, or NULL.
 * @return CTRD_OK, or an error.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_client_counters(
    const ctrd_client_t *client, ctrd_counters_t *out, ctrd_error_t **err);

/* Versions ----------------------------------------------------------------------------------------
 *
 * The version of this library, and that of the server that it talks to.
 */

/**
 * The version of the library that is loaded, as text: "0.1.0". It may be later than the header's
 * CTRD_VERSION_STRING.
 *
 * @return the text, which is constant.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
const char *ctrd_library_version(void);

/**
 * The version of the library that is loaded, as a number. It may be later than the header's
 * CTRD_VERSION_NUMBER.
 *
 * @return major * 10000 + minor * 100 + patch.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
uint32_t ctrd_library_version_number(void);

/**
 * Whether the library that is loaded has a part: "containers", "daemon", "events", "hooks",
 * "images", "log", "pull", "queues", "recovery", "snapshots", "stdio" or "submit".
 *
 * @param name  the part's name; NULL gives 0.
 * @return 1 if it has the part, 0 if not.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
int32_t ctrd_has_feature(const char *name);

/**
 * Asks the server for its version.
 *
 * @param client  the client.
 * @param call    limits of the call; NULL: the defaults (at most 10 s).
 * @param out     receives the version, which the caller owns: ctrd_version_info_free(). A submitted call
 *                gives it by ctrd_message_take_version_info().
 * @param err     receives the error, or NULL.
 * @return CTRD_OK, or an error.
 *
 * Blocking: until the server has answered. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_version(
    ctrd_client_t *client, const ctrd_call_t *call, ctrd_version_info_t **out, ctrd_error_t **err);

/**
 * Takes the version out of the completion of a submitted ctrd_version(). It works once, with any handle
 * of the message.
 *
 * @param message  the message.
 * @param out      receives the version, which the caller owns: ctrd_version_info_free().
 * @param err      receives the error, or NULL.
 * @return CTRD_OK; CTRD_E_FAILED_PRECONDITION if the message holds no such result, or it was taken
 *         before.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_message_take_version_info(
    ctrd_message_t *message, ctrd_version_info_t **out, ctrd_error_t **err);

/**
 * The server's version, as in "1.6.20~ds1" or "v1.7.24": distributions write it in many ways.
 *
 * @param info  the version; NULL gives "".
 * @return the text, borrowed from the version.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
const char *ctrd_version_info_version(const ctrd_version_info_t *info);

/**
 * The commit that the server was built from.
 *
 * @param info  the version; NULL gives "".
 * @return the text, borrowed from the version; "" if the server does not say.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
const char *ctrd_version_info_revision(const ctrd_version_info_t *info);

/**
 * Frees a server's version.
 *
 * @param info  the version; NULL does nothing.
 *
 * Blocking: no. Threads: owner. Since: 0.1.
 */
void ctrd_version_info_free(ctrd_version_info_t *info);

/* Progress ----------------------------------------------------------------------------------------
 *
 * A pull reports its progress: to a callback (ctrd_progress_callback_new()), and in messages of kind
 * CTRD_KIND_PROGRESS (ctrd_message_progress()). Both give the same list.
 */

/** The status of an item: the reference is being looked up. */
#define CTRD_PROGRESS_RESOLVING 1
/** The status of an item: the digest of the reference is known. */
#define CTRD_PROGRESS_RESOLVED 2
/** The status of an item: it waits for its turn. */
#define CTRD_PROGRESS_WAITING 3
/** The status of an item: it is being fetched. */
#define CTRD_PROGRESS_DOWNLOADING 4
/** The status of an item: it is being unpacked. */
#define CTRD_PROGRESS_EXTRACTING 5
/** The status of an item: it is done. */
#define CTRD_PROGRESS_DONE 6
/** The status of an item: it did not have to be fetched. */
#define CTRD_PROGRESS_EXISTS 7

/**
 * The number of items of a pull.
 *
 * @param list  the progress of the pull; NULL gives 0.
 * @return the number.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
size_t ctrd_progress_list_len(const ctrd_progress_list_t *list);

/**
 * One item of a pull. It has the same position in every list of the same pull.
 *
 * @param list   the progress of the pull; NULL gives NULL.
 * @param index  its position, from 0.
 * @return the item, borrowed from the list; NULL beyond the last.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
const ctrd_progress_t *ctrd_progress_list_get(const ctrd_progress_list_t *list, size_t index);

/**
 * The name of an item: the image's reference, or "<kind>-<digest>" with the kind "index", "manifest",
 * "config" or "layer".
 *
 * @param progress  the item; NULL gives "".
 * @return the text, borrowed from the item.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
const char *ctrd_progress_reference(const ctrd_progress_t *progress);

/**
 * The status of an item: one of the CTRD_PROGRESS_ values.
 *
 * @param progress  the item; NULL gives 0.
 * @return the status; a later version may add some.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
uint32_t ctrd_progress_status(const ctrd_progress_t *progress);

/**
 * How much of an item has been fetched.
 *
 * @param progress  the item; NULL gives 0.
 * @return the number of bytes.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
uint64_t ctrd_progress_offset(const ctrd_progress_t *progress);

/**
 * The size of an item.
 *
 * @param progress  the item; NULL gives 0.
 * @return the number of bytes; 0 if it is not known yet.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
uint64_t ctrd_progress_total(const ctrd_progress_t *progress);

/**
 * When an item was begun, by this machine's clock.
 *
 * @param progress  the item; NULL gives 0.
 * @param out       receives the time; may be NULL.
 * @return 1; 0 if progress is NULL, and then out is left unchanged.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
int32_t ctrd_progress_started_at(const ctrd_progress_t *progress, ctrd_time_t *out);

/**
 * When an item last changed, by this machine's clock.
 *
 * @param progress  the item; NULL gives 0.
 * @param out       receives the time; may be NULL.
 * @return 1; 0 if progress is NULL, and then out is left unchanged.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
int32_t ctrd_progress_updated_at(const ctrd_progress_t *progress, ctrd_time_t *out);

/* Messages ----------------------------------------------------------------------------------------
 *
 * A message reports the end of a process, an event, progress, the completion of a submitted call, or that
 * something may have been missed. Messages do not change, except that the result of a submitted call can
 * be taken out. The texts and errors of a message are borrowed from it.
 */

/** A kind of message: a container's first process has ended. */
#define CTRD_KIND_EXIT 1
/** A kind of message: a process that was executed in a container has ended. */
#define CTRD_KIND_EXEC_EXIT 2
/** A kind of message: the server published an event. */
#define CTRD_KIND_EVENT 4

/**
 * A kind of message: events may have been missed, because the connection was broken and the server does
 * not repeat them. Exits are not missed: the library looks them up.
 */
#define CTRD_KIND_GAP 8

/**
 * A kind of message: a queue or a hook was full, and messages for it were dropped:
 * ctrd_message_dropped().
 */
#define CTRD_KIND_OVERFLOW 16
/** A kind of message: a pull made progress: ctrd_message_progress(). */
#define CTRD_KIND_PROGRESS 32

/**
 * A kind of message: a submitted call is over. ctrd_message_tag() gives the call's tag,
 * ctrd_message_status() its outcome.
 */
#define CTRD_KIND_DONE 64
/** A kind of message: a process has written output. No message has this kind yet. */
#define CTRD_KIND_OUTPUT 128

/**
 * A kind of message: a client that a queue was subscribed to is closed. It is the last message of the
 * subscription.
 */
#define CTRD_KIND_CLOSED 256

/** A message's origin: the server reported it when it happened. */
#define CTRD_ORIGIN_LIVE 1

/**
 * A message's origin: the library looked it up later, because the connection was broken or the program
 * was restarted.
 */
#define CTRD_ORIGIN_RECOVERED 2
/** A message's origin: it happened unseen, and nothing holds the details any more. */
#define CTRD_ORIGIN_GAP 3

/**
 * The kind of a message: one of the CTRD_KIND_ values.
 *
 * @param message  the message; NULL gives 0.
 * @return the kind; a later version may add some.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
uint32_t ctrd_message_kind(const ctrd_message_t *message);

/**
 * The tag of the submitted call or of the subscription that a message belongs to.
 *
 * @param message  the message; NULL gives 0.
 * @return the tag; 0 for the messages of hooks, and for those that functions give.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
uint64_t ctrd_message_tag(const ctrd_message_t *message);

/**
 * The outcome of a submitted call; of a message of another kind than CTRD_KIND_DONE, the status of
 * ctrd_message_error().
 *
 * @param message  the message; NULL gives CTRD_OK.
 * @return CTRD_OK, or the CTRD_E_ value that the call would have returned.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
ctrd_status_t ctrd_message_status(const ctrd_message_t *message);

/**
 * The process that a message is about, or the process id that a submitted ctrd_create_container(),
 * ctrd_start_container() or ctrd_container_pid() gives. By the time of an exit's message another process
 * may have the id.
 *
 * @param message  the message; NULL gives 0.
 * @return the process id in the host's pid namespace; 0 if there is none.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
uint32_t ctrd_message_pid(const ctrd_message_t *message);

/**
 * How the library learnt of it: CTRD_ORIGIN_LIVE, CTRD_ORIGIN_RECOVERED or CTRD_ORIGIN_GAP.
 *
 * @param message  the message; NULL gives 0.
 * @return the origin; a later version may add some.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
uint32_t ctrd_message_origin(const ctrd_message_t *message);

/**
 * The number of a message among those of its client. Of two messages, the library learnt first of the
 * one with the lower number.
 *
 * @param message  the message; NULL gives 0.
 * @return the number, from 1; 0 for a completion (CTRD_KIND_DONE), and for the progress or overflow of a
 *         submitted call: its tag says to which call it belongs.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
uint64_t ctrd_message_seq(const ctrd_message_t *message);

/**
 * The namespace that a message is from.
 *
 * @param message  the message; NULL gives "".
 * @return its name, borrowed from the message; "" if it is from none.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
const char *ctrd_message_namespace(const ctrd_message_t *message);

/**
 * The container that a message is about.
 *
 * @param message  the message; NULL gives "".
 * @return its id, borrowed from the message; "" if it is about none.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
const char *ctrd_message_container_id(const ctrd_message_t *message);

/**
 * The executed process that a message is about. The result can be given as the exec_id of a function.
 *
 * @param message  the message; NULL gives NULL.
 * @return its id, borrowed from the message; NULL if the message is about a container's first process,
 *         or about none.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
const char *ctrd_message_exec_id(const ctrd_message_t *message);

/**
 * A number that tells the container of a message from those that had its id before it, or get the id
 * later. It is the same in all messages about the container, also in those that a later run of the
 * program receives, and ctrd_container_info_generation() gives the same. It has no other meaning. The
 * completion of a submitted ctrd_create_container() or ctrd_start_container() has it too.
 *
 * @param message  the message; NULL gives 0.
 * @return the number; 0 if the message is not about a container, and for the completions of other calls.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
uint64_t ctrd_message_generation(const ctrd_message_t *message);

/**
 * How much of the process's output did not reach the program's descriptors, because a descriptor failed,
 * or because the time for the output (drain_ms) was over while its reader was behind. Bytes that are in
 * the program's own pipe or file have reached it.
 *
 * A message says what was known when it was given out. The number is final when the streams have ended: in the
 * message of ctrd_destroy_container(), and in that of a ctrd_probe() after a clean-up.
 *
 * @param message     the message; NULL gives 0.
 * @param stdout_out  receives the number of bytes of standard output, or, of a process with a terminal,
 *                    of everything that it wrote. May be NULL.
 * @param stderr_out  receives the number of bytes of standard error. May be NULL.
 * @return 1 if output was lost; 0 if not, and then both numbers are 0.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
int32_t ctrd_message_output_lost(
    const ctrd_message_t *message, uint64_t *stdout_out, uint64_t *stderr_out);

/**
 * The process's exit code: 128 plus the number of the signal if a signal ended it. It is never a guess.
 *
 * @param message  the message; NULL gives 0.
 * @param out      receives the code if it is known; else it is left unchanged. May be NULL.
 * @return 1 if the code is known, 0 if nothing holds it.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
int32_t ctrd_message_exit_code(const ctrd_message_t *message, uint32_t *out);

/**
 * When the process ended, by the server's clock.
 *
 * @param message  the message; NULL gives 0.
 * @param out      receives the time if it is known; else it is left unchanged. May be NULL.
 * @return 1 if the time is known, 0 if not.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
int32_t ctrd_message_exit_time(const ctrd_message_t *message, ctrd_time_t *out);

/**
 * Why the exit code or the time of the exit is missing; for a gap, why the connection broke; for the
 * completion of a submitted call, why it failed.
 *
 * @param message  the message; NULL gives NULL.
 * @return the error, borrowed from the message and not to be freed; NULL if nothing is
 *         missing or failed.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
const ctrd_error_t *ctrd_message_error(const ctrd_message_t *message);

/**
 * Why the process never ran.
 *
 * @param message  the message; NULL gives NULL.
 * @return the error, borrowed from the message and not to be freed; NULL if the process ran.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
const ctrd_error_t *ctrd_message_start_error(const ctrd_message_t *message);

/**
 * An event's topic, as in "/tasks/start"; for progress, the reference of the image.
 *
 * @param message  the message; NULL gives "".
 * @return the text, borrowed from the message; "" for messages of other kinds.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
const char *ctrd_message_topic(const ctrd_message_t *message);

/**
 * An event as JSON, with its fields named as in containerd; for progress, an array of the items of
 * ctrd_message_progress(). The text is made when it is first asked for; in a child of the process that
 * received the message it is not made any more.
 *
 * @param message  the message; NULL gives "".
 * @return the text, borrowed from the message; "" for messages of other kinds.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
const char *ctrd_message_json(const ctrd_message_t *message);

/**
 * The progress of a pull: the state of everything that it fetches, as the callback of a pull receives it.
 * ctrd_message_topic() gives the reference of the image.
 *
 * @param message  the message; NULL gives NULL.
 * @return the list, borrowed from the message; NULL for messages of other kinds than CTRD_KIND_PROGRESS.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
const ctrd_progress_list_t *ctrd_message_progress(const ctrd_message_t *message);

/**
 * When an event happened, by the server's clock.
 *
 * @param message  the message; NULL gives 0.
 * @param out      receives the time if it is known; else it is left unchanged. May be NULL.
 * @return 1 if the time is known, 0 if not.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
int32_t ctrd_message_event_time(const ctrd_message_t *message, ctrd_time_t *out);

/**
 * How many messages were dropped, of a message of kind CTRD_KIND_OVERFLOW.
 *
 * @param message  the message; NULL gives 0.
 * @return the number; 0 for messages of other kinds.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
uint64_t ctrd_message_dropped(const ctrd_message_t *message);

/**
 * Takes the message of the exit out of the completion of a submitted ctrd_probe() or
 * ctrd_destroy_container(). It works once, with any handle of the message.
 *
 * @param message  the message.
 * @param out      receives the message of the exit, which the caller owns: ctrd_message_free().
 * @param err      receives the error, or NULL.
 * @return CTRD_OK; CTRD_E_FAILED_PRECONDITION if the message holds no such result, or it was taken
 *         before.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_message_take_message(
    ctrd_message_t *message, ctrd_message_t **out, ctrd_error_t **err);

/**
 * Makes another handle of a message, which stays valid when the first is freed.
 *
 * @param message  the message; NULL gives NULL.
 * @return the new handle, which the caller owns: ctrd_message_free().
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
ctrd_message_t *ctrd_message_ref(const ctrd_message_t *message);

/**
 * Frees one handle of a message. With the last one, a result that was not taken is released on a thread
 * of the library's.
 *
 * @param message  the handle; NULL does nothing.
 *
 * Blocking: no. Threads: owner. Since: 0.1.
 */
void ctrd_message_free(ctrd_message_t *message);

/* Standard streams --------------------------------------------------------------------------------
 *
 * Where the input of a process comes from, and where its output goes. A function that takes a ctrd_io_t
 * reads it before it checks anything else, so that the descriptors that are given away (CTRD_IO_FD_TAKE)
 * are the library's whatever the function answers. It closes each of them exactly once. Only if the
 * ctrd_io_t itself is invalid do they stay the caller's: CTRD_E_INVALID_ARGUMENT that names one of its
 * members, or "io".
 */

/** A stream: nowhere. A read ends at once, and what is written vanishes. */
#define CTRD_IO_NONE 0

/**
 * A stream: a descriptor of the caller's. The library makes a duplicate (close-on-exec), and never
 * changes the flags of the file that both share. If the reader of an output is slow, the process waits,
 * as it would at a pipe; when the reader has gone, the output is dropped.
 */
#define CTRD_IO_FD 1

/**
 * A stream: the shim gets the path as it is. It is the absolute path of a FIFO or file that exists. For
 * output it may have file:// before it (the file is appended to, and made if it does not exist) or
 * binary:// (a program that receives the output). The shim also makes missing directories of a file://
 * path. If stdout is such a URI, stderr goes to it too, and must be CTRD_IO_NONE or the same URI. The shim closes the file of file:// when stdout ends, and may lose the
 * end of stderr.
 */
#define CTRD_IO_PATH 2

/**
 * A stream: a descriptor that the caller gives away. The library uses it itself, sets close-on-exec, and
 * closes it. Otherwise as CTRD_IO_FD. Several streams may name the same descriptor.
 */
#define CTRD_IO_FD_TAKE 3

/** The streams of a process. All-zero: none. The library does not keep the pointers. */
typedef struct ctrd_io_t {
    /** sizeof(ctrd_io_t). */
    size_t size;
    /** The path of standard input if stdin_kind is CTRD_IO_PATH; else it is not looked at. */
    const char *stdin_path;
    /** The path or URI of standard output, likewise. */
    const char *stdout_path;
    /** The path or URI of standard error, likewise. */
    const char *stderr_path;
    /** Standard input: CTRD_IO_NONE, CTRD_IO_FD, CTRD_IO_FD_TAKE or CTRD_IO_PATH. */
    uint32_t stdin_kind;
    /**
     * The descriptor of standard input if stdin_kind is CTRD_IO_FD or CTRD_IO_FD_TAKE; else it is not
     * looked at.
     */
    int32_t stdin_fd;
    /** Standard output: one of the same kinds. */
    uint32_t stdout_kind;
    /** The descriptor of standard output, likewise. */
    int32_t stdout_fd;
    /** Standard error: one of the same kinds. Must be CTRD_IO_NONE with a terminal. */
    uint32_t stderr_kind;
    /** The descriptor of standard error, likewise. */
    int32_t stderr_fd;
    /** 1: the process has a terminal, and all its output comes from stdout. 0: it has none. */
    uint32_t terminal;
    /** Must be 0. */
    uint32_t reserved;
} ctrd_io_t;

/** Initialises a ctrd_io_t: everything is the default. */
#define CTRD_IO_INIT \
    { sizeof(ctrd_io_t), NULL, NULL, NULL, 0, 0, 0, 0, 0, 0, 0, 0 }

/**
 * Initialises a ctrd_io_t as CTRD_IO_INIT does, for languages without macros.
 *
 * @param io    the struct; NULL does nothing.
 * @param size  its size in bytes, by the caller's header.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
void ctrd_io_init(ctrd_io_t *io, size_t size);

/* Containers --------------------------------------------------------------------------------------
 *
 * An id has at most 76 letters and digits, joined by single '.', '_' or '-'.
 */

/** A container's flag: create it and do not start it; ctrd_start_container() does. */
#define CTRD_CONTAINER_NO_START 1

/**
 * A container's flag: apply the image's configuration to spec_json, as it is applied to the default.
 * Without spec_json it changes nothing; without an image it is refused.
 *
 * Command: the image's entry point, followed by args or, if there are none, by the image's command. They
 * replace that of the specification, unless all of them are empty. Environment: the image's, or PATH with
 * the usual directories if it has none; an entry of the specification replaces the image's entry of the
 * same name, and an entry without "=" removes it. Working directory: the image's, if it names one. User,
 * group and additional groups: the image's, if it names a user; names are looked up in the container's
 * root file system.
 */
#define CTRD_CONTAINER_APPLY_IMAGE 2

/** A clean-up policy: keep everything. ctrd_destroy_container() removes the container. */
#define CTRD_CLEANUP_KEEP 0

/**
 * A clean-up policy: remove the task when the container's process has ended. The record keeps the exit, and the
 * snapshot keeps what the process has written.
 */
#define CTRD_CLEANUP_TASK 1

/**
 * A clean-up policy: remove task, snapshot and record when the container's process has ended. After that only the
 * client that watched the container still knows the exit. It gives it to ctrd_probe() any number of
 * times, and to one ctrd_destroy_container(), until another container gets the id; it knows at least the
 * last 1024 exits of this kind. Every other client answers CTRD_E_NOT_FOUND.
 */
#define CTRD_CLEANUP_ALL 2

/**
 * A time for the output (drain_ms): none. What is still in the pipes when the process has ended is lost.
 */
#define CTRD_DRAIN_NONE (-1)

/** A grace period: SIGKILL at once. */
#define CTRD_GRACE_NONE (-1)

/** The container that is to be created. The library does not keep the pointers. */
typedef struct ctrd_container_config_t {
    /** sizeof(ctrd_container_config_t). */
    size_t size;
    /** The container's id. Required. */
    const char *id;
    /**
     * The image to make it from, which must have been pulled: that of exactly this name or, if there is
     * none, that of the completed name ("docker.io/library/busybox:latest" for "busybox"). Either this
     * or rootfs is required.
     */
    const char *image;
    /**
     * A directory that is its root file system: an absolute path that means the same directory to
     * containerd. The caller prepares it, and the library never removes anything in it.
     */
    const char *rootfs;
    /** The snapshotter. NULL: the client's. */
    const char *snapshotter;
    /**
     * The key of its snapshot, at most 4096 bytes. The snapshot is prepared unless it exists. NULL: the
     * container's id.
     */
    const char *snapshot_key;
    /** The runtime. NULL: "io.containerd.runc.v2". */
    const char *runtime;
    /**
     * The OCI runtime specification, as JSON. Members that this library does not know are kept. The
     * image's configuration is applied to it only with CTRD_CONTAINER_APPLY_IMAGE. NULL: the default
     * (ctrd_default_spec()) with the image's configuration applied to it (ctrd_image_spec()).
     */
    const char *spec_json;
    /**
     * The command: args_len strings. If the image's configuration is applied, they follow the image's
     * entry point, in place of the image's command; else they replace the command of spec_json.
     */
    const char *const *args;
    /** The number of args; 0 leaves the command as it is. */
    size_t args_len;
    /**
     * The keys of the labels of the container's record: labels_len strings. Keys that begin with
     * "io.ctrd." are the library's own.
     */
    const char *const *label_keys;
    /** The values of the labels: labels_len strings. */
    const char *const *label_values;
    /** The number of labels. */
    size_t labels_len;
    /** Must be 0. */
    size_t reserved;
    /** CTRD_CONTAINER_NO_START and CTRD_CONTAINER_APPLY_IMAGE, or 0. */
    uint64_t flags;
    /**
     * How long the library waits for output that is still in the pipes after the exit when it closes the
     * streams by itself: for a clean-up, or because another client removed the container. In
     * milliseconds; 0: 1000; CTRD_DRAIN_NONE: it does not wait; CTRD_FOREVER: until all is passed on.
     * Output that is still unread then is lost: ctrd_message_output_lost() and ctrd_client_counters() count it. With
     * CTRD_FOREVER a clean-up does not happen while a reader is stuck, or while a descendant of the
     * process has the output open. A client that recovers the container keeps to the same time.
     */
    int64_t drain_ms;
    /**
     * The clean-up when the process has ended and every hook that was called for it has returned:
     * CTRD_CLEANUP_KEEP, CTRD_CLEANUP_TASK or CTRD_CLEANUP_ALL.
     */
    uint32_t cleanup;
    /** Must be 0. */
    uint32_t reserved_2;
} ctrd_container_config_t;

/** Initialises a ctrd_container_config_t: everything is the default. */
#define CTRD_CONTAINER_CONFIG_INIT \
    { sizeof(ctrd_container_config_t), NULL, NULL, NULL, NULL, NULL, NULL, NULL, \
      NULL, 0, NULL, NULL, 0, 0, 0, 0, 0, 0 }

/** The process of a container that was created or started. */
typedef struct ctrd_process_t {
    /**
     * A number that tells its container from those that had its id before it, or get the id later:
     * ctrd_message_generation() gives the same number for its exit.
     */
    uint64_t generation;
    /** The id of the process in the host's pid namespace. */
    uint32_t pid;
    /** Always 0. */
    uint32_t reserved;
} ctrd_process_t;

/** How to wait for a process. All-zero gives the defaults. */
typedef struct ctrd_probe_config_t {
    /** sizeof(ctrd_probe_config_t). */
    size_t size;
    /** Must be 0. */
    size_t reserved;
    /** Must be 0. */
    uint64_t flags;
} ctrd_probe_config_t;

/** Initialises a ctrd_probe_config_t: everything is the default. */
#define CTRD_PROBE_CONFIG_INIT \
    { sizeof(ctrd_probe_config_t), 0, 0 }

/** How to destroy a container. All-zero gives the defaults. */
typedef struct ctrd_destroy_config_t {
    /** sizeof(ctrd_destroy_config_t). */
    size_t size;
    /** Must be 0. */
    size_t reserved;
    /**
     * How long the processes may take to end after SIGTERM, in milliseconds; then they get SIGKILL. 0:
     * 5000; CTRD_GRACE_NONE: SIGKILL at once; CTRD_FOREVER: no SIGKILL. The call's timeout does not
     * count for it.
     */
    int64_t grace_ms;
    /**
     * How long the function waits for output that is still in the pipes after the exit, if its reader is
     * behind, in milliseconds. Output that is still unread then is lost: ctrd_message_output_lost(). 0: 1000;
     * CTRD_DRAIN_NONE: it does not wait; CTRD_FOREVER: until all is passed on, so that nothing is lost.
     * If the time of the call is over first, the function fails with CTRD_E_TIMEOUT, nothing is lost,
     * and another destroy continues. A descendant of the process that is not in the container's pid
     * namespace may keep the output open; then all of this time passes.
     */
    int64_t drain_ms;
} ctrd_destroy_config_t;

/** Initialises a ctrd_destroy_config_t: everything is the default. */
#define CTRD_DESTROY_CONFIG_INIT \
    { sizeof(ctrd_destroy_config_t), 0, 0, 0 }

/**
 * Initialises a ctrd_container_config_t as CTRD_CONTAINER_CONFIG_INIT does, for languages without
 * macros.
 *
 * @param config  the struct; NULL does nothing.
 * @param size    its size in bytes, by the caller's header.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
void ctrd_container_config_init(ctrd_container_config_t *config, size_t size);

/**
 * Creates a container and starts its process, unless a flag says not to. If a step fails, the steps
 * before it are undone, and the error names the step. If the server does not answer or cannot be
 * reached, undoing may take up to 15 s, also beyond the call's timeout.
 *
 * @param client       the client.
 * @param config       what to create.
 * @param io           the streams of the process; NULL: none. Read before everything else.
 * @param call         limits of the call; NULL: the defaults (at most the client's call timeout).
 * @param process_out  receives the process; may be NULL. A submitted call gives its id by
 *                     ctrd_message_pid(), and its generation by ctrd_message_generation().
 * @param err          receives the error, or NULL.
 * @return CTRD_OK; CTRD_E_NOT_FOUND if something is missing, and ctrd_error_reason() says what: the image
 *         (CTRD_REASON_NO_IMAGE), a part of its content (CTRD_REASON_NO_CONTENT), a snapshot that another
 *         client has removed meanwhile (CTRD_REASON_NO_SNAPSHOT), the lease (CTRD_REASON_NO_LEASE);
 *         CTRD_E_ALREADY_EXISTS if there is a container with the id; CTRD_E_BUSY if another call changes
 *         the container for longer than this one may wait; CTRD_E_UNKNOWN if runc fails, as it does if
 *         the command is not in the image, and if there is no such runtime (CTRD_REASON_NO_RUNTIME);
 *         CTRD_E_INVALID_ARGUMENT also if there is no such snapshotter (CTRD_REASON_NO_SNAPSHOTTER);
 *         CTRD_E_IO also if there is no room for FIFOs.
 *
 * Blocking: until the process runs. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_create_container(
    ctrd_client_t *client, const ctrd_container_config_t *config, const ctrd_io_t *io,
    const ctrd_call_t *call, ctrd_process_t *process_out, ctrd_error_t **err);

/**
 * Starts the process of a container that was created with CTRD_CONTAINER_NO_START.
 *
 * @param client       the client.
 * @param id           the container's id.
 * @param call         limits of the call; NULL: the defaults (at most the client's call timeout).
 * @param process_out  receives the process; may be NULL. A submitted call gives its id by
 *                     ctrd_message_pid(), and its generation by ctrd_message_generation().
 * @param err          receives the error, or NULL.
 * @return CTRD_OK; CTRD_E_NOT_FOUND if there is no such container (CTRD_REASON_NO_CONTAINER), or it has no
 *         task (CTRD_REASON_NO_TASK); CTRD_E_FAILED_PRECONDITION if it was started before, or belongs to
 *         another owner (CTRD_REASON_OTHER_OWNER); CTRD_E_BUSY as ctrd_create_container();
 *         CTRD_E_UNKNOWN if runc fails.
 *
 * Blocking: until the process runs. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_start_container(
    ctrd_client_t *client, const char *id, const ctrd_call_t *call, ctrd_process_t *process_out,
    ctrd_error_t **err);

/**
 * Initialises a ctrd_probe_config_t as CTRD_PROBE_CONFIG_INIT does, for languages without macros.
 *
 * @param config  the struct; NULL does nothing.
 * @param size    its size in bytes, by the caller's header.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
void ctrd_probe_config_init(ctrd_probe_config_t *config, size_t size);

/**
 * Waits until a process has ended. Any number of threads may wait for the same one, and they all get the
 * message. Later calls give the message again, until the container is destroyed or restarted. If a
 * clean-up or another client has removed the container, the comment of CTRD_CLEANUP_ALL says how long.
 * If the message has no exit code, ctrd_message_error() says why.
 *
 * A client watches the containers that it has created, started, recovered, probed, or begun to watch
 * (ctrd_watch_container()), until it destroys them. If another client has replaced a container since, a
 * probe with CTRD_POLL still gives the exit that is known; any other probe asks the server.
 *
 * @param client   the client.
 * @param id       the container's id.
 * @param exec_id  the id of an exec (ctrd_exec_container()). NULL: the container's first process.
 * @param config   how to wait; NULL: the defaults.
 * @param call     limits of the call; NULL: the defaults (no end). With CTRD_POLL the function never asks
 *                 the server: it gives what this client knows.
 * @param out      receives the message, which the caller owns: ctrd_message_free(); may be NULL. A
 *                 submitted call gives it by ctrd_message_take_message().
 * @param err      receives the error, or NULL.
 * @return CTRD_OK; CTRD_E_NOT_FOUND as ctrd_watch_container(), or if there is no such exec;
 *         with CTRD_POLL also CTRD_E_WOULD_BLOCK if the process has not ended, and
 *         CTRD_E_FAILED_PRECONDITION if this client does not watch the container.
 *
 * Blocking: until the process has ended. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_probe(
    ctrd_client_t *client, const char *id, const char *exec_id, const ctrd_probe_config_t *config,
    const ctrd_call_t *call, ctrd_message_t **out, ctrd_error_t **err);

/**
 * Begins to watch a process of a container that another client made, or that an earlier run of this
 * program made. Then hooks and queues report its exit, and ctrd_probe() can poll it. Streams and clean-up
 * stay with the container's owner; ctrd_recover_container() would take them over. If this client watches
 * the process already, nothing changes. If it already knows the exit, it asks the server whether
 * a newer container or process has the id, and watches that one.
 *
 * @param client   the client.
 * @param id       the container's id.
 * @param exec_id  the id of an exec (ctrd_exec_container()). NULL: the container's first process.
 * @param call     limits of the call; NULL: the defaults (at most the client's call timeout).
 * @param err      receives the error, or NULL.
 * @return CTRD_OK; CTRD_E_NOT_FOUND if there is no such container (CTRD_REASON_NO_CONTAINER), or it has no
 *         task and nothing says that its process ever ended (CTRD_REASON_NO_TASK); CTRD_E_NOT_FOUND
 *         also if there is no such exec; CTRD_E_UNAVAILABLE also if its shim does not answer.
 *
 * Blocking: until the server has answered. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_watch_container(
    ctrd_client_t *client, const char *id, const char *exec_id, const ctrd_call_t *call,
    ctrd_error_t **err);

/**
 * Initialises a ctrd_destroy_config_t as CTRD_DESTROY_CONFIG_INIT does, for languages without macros.
 *
 * @param config  the struct; NULL does nothing.
 * @param size    its size in bytes, by the caller's header.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
void ctrd_destroy_config_init(ctrd_destroy_config_t *config, size_t size);

/**
 * Ends the processes of a container and removes it. All its processes get SIGTERM, and SIGKILL when the
 * grace period has passed. Then the function waits for the output that is still in the pipes, and deletes
 * the task, the snapshot and the record. If it fails half-way, another call continues. If the container
 * was removed meanwhile, by its clean-up or by another call, the function succeeds as long as this client
 * knows the exit.
 *
 * @param client  the client.
 * @param id      the container's id.
 * @param config  how to destroy it; NULL: the defaults.
 * @param call    limits of the call; NULL: the defaults (at most the sum of the grace period, the time for
 *                the output and the client's call timeout; no end if one of them is CTRD_FOREVER).
 * @param out     receives the message of the exit, which the caller owns: ctrd_message_free(); may be
 *                NULL. A submitted call gives it by ctrd_message_take_message(). It has no exit code if
 *                nothing holds it (ctrd_message_error() says why) or if the process never ran
 *                (ctrd_message_start_error()); the call succeeds all the same.
 * @param err     receives the error, or NULL.
 * @return CTRD_OK; CTRD_E_NOT_FOUND if there is no such container; CTRD_E_FAILED_PRECONDITION if it
 *         belongs to another owner (CTRD_REASON_OTHER_OWNER); CTRD_E_BUSY as ctrd_create_container();
 *         CTRD_E_ABORTED if another client starts it again and again.
 *
 * Blocking: until the container is gone. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_destroy_container(
    ctrd_client_t *client, const char *id, const ctrd_destroy_config_t *config,
    const ctrd_call_t *call, ctrd_message_t **out, ctrd_error_t **err);

/**
 * Gives the process id of a container's first process. If the process has ended and its task still
 * exists, it gives the id too; another process may have that id by then.
 *
 * @param client  the client.
 * @param id      the container's id.
 * @param call    limits of the call; NULL: the defaults (at most the client's call timeout).
 * @param out     receives the process id in the host's pid namespace. A submitted call gives it by
 *                ctrd_message_pid().
 * @param err     receives the error, or NULL.
 * @return CTRD_OK; CTRD_E_NOT_FOUND if there is no such container (CTRD_REASON_NO_CONTAINER), or it has no
 *         task (CTRD_REASON_NO_TASK).
 *
 * Blocking: until the server has answered. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_container_pid(
    ctrd_client_t *client, const char *id, const ctrd_call_t *call, uint32_t *out,
    ctrd_error_t **err);

/**
 * Gives the process ids of all processes of a container, and the ids of those that were executed in it.
 *
 * @param client  the client.
 * @param id      the container's id.
 * @param call    limits of the call; NULL: the defaults (at most the client's call timeout).
 * @param out     receives the process ids, which the caller owns: ctrd_pid_list_free(). A submitted call
 *                gives them by ctrd_message_take_pid_list().
 * @param err     receives the error, or NULL.
 * @return CTRD_OK; CTRD_E_NOT_FOUND if there is no such container (CTRD_REASON_NO_CONTAINER), or it has no
 *         task (CTRD_REASON_NO_TASK).
 *
 * Blocking: until the server has answered. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_container_pids(
    ctrd_client_t *client, const char *id, const ctrd_call_t *call, ctrd_pid_list_t **out,
    ctrd_error_t **err);

/**
 * Takes the process ids out of the completion of a submitted ctrd_container_pids(). It works once, with
 * any handle of the message.
 *
 * @param message  the message.
 * @param out      receives the process ids, which the caller owns: ctrd_pid_list_free().
 * @param err      receives the error, or NULL.
 * @return CTRD_OK; CTRD_E_FAILED_PRECONDITION if the message holds no such result, or it was taken
 *         before.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_message_take_pid_list(
    ctrd_message_t *message, ctrd_pid_list_t **out, ctrd_error_t **err);

/**
 * The number of process ids in a list.
 *
 * @param list  the list; NULL gives 0.
 * @return the number.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
size_t ctrd_pid_list_len(const ctrd_pid_list_t *list);

/**
 * One process id of a list.
 *
 * @param list   the list; NULL gives 0.
 * @param index  its position, from 0.
 * @return the process id; 0 beyond the last.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
uint32_t ctrd_pid_list_get(const ctrd_pid_list_t *list, size_t index);

/**
 * The id with which a process of a list was executed in the container.
 *
 * @param list   the list; NULL gives "".
 * @param index  its position, from 0.
 * @return the text, borrowed from the list; "" for the container's first process, for a process that
 *         another process of the container started, and beyond the last.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
const char *ctrd_pid_list_exec_id(const ctrd_pid_list_t *list, size_t index);

/**
 * Frees a list of process ids.
 *
 * @param list  the list; NULL does nothing.
 *
 * Blocking: no. Threads: owner. Since: 0.1.
 */
void ctrd_pid_list_free(ctrd_pid_list_t *list);

/* Container info ----------------------------------------------------------------------------------
 *
 * A container's info is what containerd has in its record, and the state of its first process, at the
 * time of the call. It does not change.
 */

/**
 * A container's status: it has no task. Its process was never created, or the task was deleted after the
 * exit.
 */
#define CTRD_CONTAINER_STATUS_NO_TASK 1
/** A container's status: its process was created and not started. */
#define CTRD_CONTAINER_STATUS_CREATED 2
/** A container's status: its process runs. */
#define CTRD_CONTAINER_STATUS_RUNNING 3
/** A container's status: its process is paused. */
#define CTRD_CONTAINER_STATUS_PAUSED 4
/** A container's status: its process is about to be paused. */
#define CTRD_CONTAINER_STATUS_PAUSING 5
/** A container's status: its process has ended. */
#define CTRD_CONTAINER_STATUS_STOPPED 6
/** A container's status: its shim does not answer. */
#define CTRD_CONTAINER_STATUS_UNKNOWN 7

/**
 * Looks a container up: its record, and the state of its process. It need not be this client's.
 *
 * @param client  the client.
 * @param id      the container's id.
 * @param call    limits of the call; NULL: the defaults (at most the client's call timeout).
 * @param out     receives the container's info, which the caller owns: ctrd_container_info_free(). A
 *                submitted call gives it by ctrd_message_take_container_info().
 * @param err     receives the error, or NULL.
 * @return CTRD_OK, also if the container's shim does not answer within the 2 s that containerd gives it
 *         (CTRD_CONTAINER_STATUS_UNKNOWN); CTRD_E_NOT_FOUND if there is no such container.
 *
 * Blocking: until the server has answered. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_get_container(
    ctrd_client_t *client, const char *id, const ctrd_call_t *call, ctrd_container_info_t **out,
    ctrd_error_t **err);

/**
 * Takes the container's info out of the completion of a submitted ctrd_get_container(). It works once,
 * with any handle of the message.
 *
 * @param message  the message.
 * @param out      receives the container's info, which the caller owns: ctrd_container_info_free().
 * @param err      receives the error, or NULL.
 * @return CTRD_OK; CTRD_E_FAILED_PRECONDITION if the message holds no such result, or it was taken
 *         before.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_message_take_container_info(
    ctrd_message_t *message, ctrd_container_info_t **out, ctrd_error_t **err);

/**
 * Lists the containers of the namespace that match at least one of the filters, of every owner; all
 * of them if there is no filter. They are in the order of their ids.
 *
 * The function asks the server twice, however many containers there are. containerd asks their shims one
 * after the other, and waits 2 s for one that does not answer: such a container has the status
 * CTRD_CONTAINER_STATUS_UNKNOWN. containerd 1.7 and 2.x may leave it out of their list of tasks. Then,
 * if this client does not watch the container either, it has the status CTRD_CONTAINER_STATUS_NO_TASK;
 * ctrd_get_container() tells the two apart.
 *
 * @param client       the client.
 * The label "io.ctrd.owner" of a container has the owner name of the client that made it. So these filters
 * give the containers that clients with the owner name "epolld" have made, and those that any client of
 * this library has made:
 *
 *     labels."io.ctrd.owner"=="epolld"
 *     labels."io.ctrd.owner"
 *
 * In C the first one is "labels.\"io.ctrd.owner\"==\"epolld\"".
 *
 * @param filters      filters in containerd's language, as in labels."org.example.role"==web:
 *                     filters_len strings.
 * @param filters_len  the number of filters.
 * @param call         limits of the call; NULL: the defaults (at most the client's call timeout).
 * @param out          receives the containers, which the caller owns: ctrd_container_info_list_free(). A
 *                     submitted call gives them by ctrd_message_take_container_info_list().
 * @param err          receives the error, or NULL.
 * @return CTRD_OK; CTRD_E_INVALID_ARGUMENT also for a filter that containerd cannot read, named by its
 *         position: "filters[1]".
 *
 * Blocking: until the server has answered. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_list_containers(
    ctrd_client_t *client, const char *const *filters, size_t filters_len, const ctrd_call_t *call,
    ctrd_container_info_list_t **out, ctrd_error_t **err);

/**
 * Takes the containers out of the completion of a submitted ctrd_list_containers(). It works once, with
 * any handle of the message.
 *
 * @param message  the message.
 * @param out      receives the containers, which the caller owns: ctrd_container_info_list_free().
 * @param err      receives the error, or NULL.
 * @return CTRD_OK; CTRD_E_FAILED_PRECONDITION if the message holds no such result, or it was taken
 *         before.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_message_take_container_info_list(
    ctrd_message_t *message, ctrd_container_info_list_t **out, ctrd_error_t **err);

/**
 * A container's id.
 *
 * @param info  the container's info; NULL gives "".
 * @return the text, borrowed from the info.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
const char *ctrd_container_info_id(const ctrd_container_info_t *info);

/**
 * The name of the image that a container was made from.
 *
 * @param info  the container's info; NULL gives "".
 * @return the text, borrowed from the info; "" if the record names no image, as if the caller prepared
 *         the root file system.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
const char *ctrd_container_info_image(const ctrd_container_info_t *info);

/**
 * A container's runtime, as in "io.containerd.runc.v2".
 *
 * @param info  the container's info; NULL gives "".
 * @return the text, borrowed from the info.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
const char *ctrd_container_info_runtime(const ctrd_container_info_t *info);

/**
 * The snapshotter of a container's root file system.
 *
 * @param info  the container's info; NULL gives "".
 * @return the text, borrowed from the info; "" if the root file system is not a snapshot.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
const char *ctrd_container_info_snapshotter(const ctrd_container_info_t *info);

/**
 * The key of the snapshot that is a container's root file system.
 *
 * @param info  the container's info; NULL gives "".
 * @return the text, borrowed from the info; "" if the root file system is not a snapshot.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
const char *ctrd_container_info_snapshot_key(const ctrd_container_info_t *info);

/**
 * The owner name of the client that made a container.
 *
 * @param info  the container's info; NULL gives "".
 * @return the text, borrowed from the info; "" if another program made the container.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
const char *ctrd_container_info_owner(const ctrd_container_info_t *info);

/**
 * The clean-up policy of a container: CTRD_CLEANUP_KEEP, CTRD_CLEANUP_TASK or
 * CTRD_CLEANUP_ALL.
 *
 * @param info  the container's info; NULL gives CTRD_CLEANUP_KEEP.
 * @return the value that the container was created with; CTRD_CLEANUP_KEEP if another program made it.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
uint32_t ctrd_container_info_cleanup(const ctrd_container_info_t *info);

/**
 * The number of a container's labels. The library's own, which begin with "io.ctrd.", are left out.
 *
 * @param info  the container's info; NULL gives 0.
 * @return the number.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
size_t ctrd_container_info_labels_len(const ctrd_container_info_t *info);

/**
 * The key of one of a container's labels.
 *
 * @param info   the container's info; NULL gives NULL.
 * @param index  its position, from 0, in the order of the keys.
 * @return the text, borrowed from the info; NULL beyond the last.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
const char *ctrd_container_info_label_key(const ctrd_container_info_t *info, size_t index);

/**
 * The value of one of a container's labels.
 *
 * @param info   the container's info; NULL gives NULL.
 * @param index  its position, from 0, in the order of the keys.
 * @return the text, borrowed from the info; NULL beyond the last.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
const char *ctrd_container_info_label_value(const ctrd_container_info_t *info, size_t index);

/**
 * The value of one of a container's labels, by its key. NULL tells a container without the label from one
 * whose label is empty.
 *
 * @param info  the container's info; NULL gives NULL.
 * @param key   the key; NULL gives NULL.
 * @return the text, borrowed from the info; NULL if the container has no such label.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
const char *ctrd_container_info_label(const ctrd_container_info_t *info, const char *key);

/**
 * Whether a container's process has a terminal.
 *
 * @param info  the container's info; NULL gives 0.
 * @return 1 if it has one, 0 if not.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
int32_t ctrd_container_info_terminal(const ctrd_container_info_t *info);

/**
 * A number that tells a container from those that had its id before it, or get the id later.
 * ctrd_message_generation() gives the same number. It has no other meaning.
 *
 * @param info  the container's info; NULL gives 0.
 * @return the number; 0 if it is not known.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
uint64_t ctrd_container_info_generation(const ctrd_container_info_t *info);

/**
 * The status of a container: one of the CTRD_CONTAINER_STATUS_ values.
 *
 * @param info  the container's info; NULL gives 0.
 * @return the status; a later version may add some.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
uint32_t ctrd_container_info_status(const ctrd_container_info_t *info);

/**
 * The process id of a container's first process, in the host's pid namespace. If the process has ended,
 * another process may have the id.
 *
 * @param info  the container's info; NULL gives 0.
 * @return the process id; 0 if the container has no task or the id is not known.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
uint32_t ctrd_container_info_pid(const ctrd_container_info_t *info);

/**
 * The exit code of a container's process: 128 plus the number of the signal if a signal ended it. It is
 * known also if the task was deleted, as long as the record or this client has it.
 *
 * @param info  the container's info; NULL gives 0.
 * @param out   receives the code if it is known; else it is left unchanged. May be NULL.
 * @return 1 if the code is known; 0 if the process has not ended, never ran, or nothing holds its code.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
int32_t ctrd_container_info_exit_code(const ctrd_container_info_t *info, uint32_t *out);

/**
 * When a container's process ended, by the server's clock.
 *
 * @param info  the container's info; NULL gives 0.
 * @param out   receives the time if it is known; else it is left unchanged. May be NULL.
 * @return 1 if the time is known, 0 if not.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
int32_t ctrd_container_info_exit_time(const ctrd_container_info_t *info, ctrd_time_t *out);

/**
 * When a container's record was made, by the server's clock.
 *
 * @param info  the container's info; NULL gives 0.
 * @param out   receives the time if it is known; else it is left unchanged. May be NULL.
 * @return 1 if the time is known, 0 if not.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
int32_t ctrd_container_info_created_at(const ctrd_container_info_t *info, ctrd_time_t *out);

/**
 * When a container's record last changed, by the server's clock.
 *
 * @param info  the container's info; NULL gives 0.
 * @param out   receives the time if it is known; else it is left unchanged. May be NULL.
 * @return 1 if the time is known, 0 if not.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
int32_t ctrd_container_info_updated_at(const ctrd_container_info_t *info, ctrd_time_t *out);

/**
 * Frees a container's info that the caller owns; the container itself is not touched. The infos of a
 * list are freed with the list.
 *
 * @param info  the info; NULL does nothing.
 *
 * Blocking: no. Threads: owner. Since: 0.1.
 */
void ctrd_container_info_free(ctrd_container_info_t *info);

/**
 * The number of containers in a list.
 *
 * @param list  the list; NULL gives 0.
 * @return the number.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
size_t ctrd_container_info_list_len(const ctrd_container_info_list_t *list);

/**
 * One container of a list.
 *
 * @param list   the list; NULL gives NULL.
 * @param index  its position, from 0.
 * @return the container's info, borrowed from the list and not to be freed; NULL beyond the last.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
const ctrd_container_info_t *ctrd_container_info_list_get(
    const ctrd_container_info_list_t *list, size_t index);

/**
 * Frees a list and the infos in it.
 *
 * @param list  the list; NULL does nothing.
 *
 * Blocking: no. Threads: owner. Since: 0.1.
 */
void ctrd_container_info_list_free(ctrd_container_info_list_t *list);

/* Execs -------------------------------------------------------------------------------------------
 *
 * An exec is a process that is executed in a container beside its first one. It runs as the container's
 * own process does, unless its configuration says otherwise. ctrd_probe() waits for its exit, and hooks and
 * queues get the exit as CTRD_KIND_EXEC_EXIT.
 */

/**
 * A flag of an exec: it has all capabilities that the program has, and no AppArmor profile, SELinux label or
 * noNewPrivileges. The container's seccomp filter and namespaces hold for it all the same.
 */
#define CTRD_EXEC_PRIVILEGED 1

/**
 * A flag of an exec: if the container has a running exec with the id, that one is taken over: its exit is
 * watched, and if no streams of it are open in this client, the given ones are attached. So "run it, or
 * attach to it" is one call. The rest of the configuration is then not used. Needs an exec_id.
 */
#define CTRD_EXEC_ADOPT 2

/**
 * A process that is to be executed. All-zero is refused: a command is needed. The library does not keep the
 * pointers.
 */
typedef struct ctrd_exec_config_t {
    /** sizeof(ctrd_exec_config_t). */
    size_t size;
    /**
     * Its id among the execs of the container, in the form of a container's id, and not the container's
     * own. NULL: a random one, which ctrd_exec_info_id() gives.
     */
    const char *exec_id;
    /** The command: args_len strings. Required, unless process_json has args. */
    const char *const *args;
    /** The number of args. */
    size_t args_len;
    /**
     * Changes of the environment of the container's process, env_len strings: "NAME=value" sets a variable,
     * "NAME" removes it. With a terminal, "TERM=xterm" is added unless TERM is set.
     */
    const char *const *env;
    /** The number of strings in env. */
    size_t env_len;
    /**
     * Its user: "user" or "user:group", each a name or a number. Names are looked up in the container's
     * /etc/passwd and /etc/group, and the process gets the additional groups that list the user. NULL: the
     * user of the container's process.
     */
    const char *user;
    /** Its working directory, an absolute path. NULL: that of the container's process. */
    const char *cwd;
    /**
     * Members of the process as a JSON object (OCI runtime specification, "process"). They replace those of
     * the container's process. A value in another member of this struct replaces the one of the same name.
     * NULL: none.
     */
    const char *process_json;
    /** Must be 0. */
    size_t reserved;
    /** CTRD_EXEC_PRIVILEGED and CTRD_EXEC_ADOPT, or 0. */
    uint64_t flags;
    /**
     * How long the process may run, in milliseconds: then it gets SIGTERM, and SIGKILL after grace_ms. The
     * time counts from the start, and the timeout of the call has nothing to do with it. Only the process
     * itself gets the signals. A client that takes the process over does not know the time. 0: no limit.
     */
    int64_t run_ms;
    /**
     * How long the process has after SIGTERM, in milliseconds. 0: 5000; CTRD_GRACE_NONE: SIGKILL at once;
     * CTRD_FOREVER: no SIGKILL.
     */
    int64_t grace_ms;
    /**
     * How long output that is still in the pipes after the exit is waited for, in milliseconds, before the
     * streams are closed. Output that is still unread then is lost: ctrd_message_output_lost(). 0: 1000;
     * CTRD_DRAIN_NONE: it is not waited for; CTRD_FOREVER: until all is passed on.
     */
    int64_t drain_ms;
    /** The first size of its terminal, in characters: columns and rows. Both 0: the runtime's. */
    uint32_t console_width;
    /** See console_width. */
    uint32_t console_height;
} ctrd_exec_config_t;

/** Initialises a ctrd_exec_config_t: everything is the default. */
#define CTRD_EXEC_CONFIG_INIT \
    { sizeof(ctrd_exec_config_t), NULL, NULL, 0, NULL, 0, NULL, NULL, NULL, 0, 0, 0, \
      0, 0, 0, 0 }

/**
 * Initialises a ctrd_exec_config_t as CTRD_EXEC_CONFIG_INIT does, for languages without macros.
 *
 * @param config  the struct; NULL does nothing.
 * @param size    its size in bytes, by the caller's header.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
void ctrd_exec_config_init(ctrd_exec_config_t *config, size_t size);

/**
 * Executes a process in a container, and returns when it runs. ctrd_probe() waits for its exit. When it has
 * ended, and every hook that got the exit has returned, it is deleted from the container's shim, and its id
 * can be used again. If a step fails, the steps before it are undone, and the error names the step.
 *
 * If the process cannot be started, the error's reason says why: there is no such program
 * (CTRD_REASON_PROGRAM_NOT_FOUND), it cannot be executed (CTRD_REASON_PROGRAM_NOT_EXECUTABLE), or something
 * else (CTRD_REASON_START_FAILED). Hooks and queues then get an exit with ctrd_message_start_error().
 *
 * @param client  the client.
 * @param id      the container's id.
 * @param config  the process. Required.
 * @param io      the streams of the process; NULL: none. Read before everything else.
 * @param call    limits of the call; NULL: the defaults (at most the client's call timeout). If the server
 *                or the shim does not answer, undoing may take up to 15 s more.
 * @param out     receives the exec's info, which the caller owns: ctrd_exec_info_free(); may be NULL. A
 *                submitted call gives it by ctrd_message_take_exec_info().
 * @param err     receives the error, or NULL.
 * @return CTRD_OK; CTRD_E_NOT_FOUND if there is no such container (CTRD_REASON_NO_CONTAINER), or it has no
 *         task; CTRD_E_ALREADY_EXISTS if the container has an exec with the id that has not ended;
 *         CTRD_E_FAILED_PRECONDITION if the container is paused or has ended, belongs to another owner
 *         (CTRD_REASON_OTHER_OWNER), or has no such user or group; CTRD_E_UNKNOWN if the runtime cannot
 *         start the process.
 *
 * Blocking: until the process runs. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_exec_container(
    ctrd_client_t *client, const char *id, const ctrd_exec_config_t *config, const ctrd_io_t *io,
    const ctrd_call_t *call, ctrd_exec_info_t **out, ctrd_error_t **err);

/**
 * Takes the exec's info out of the completion of a submitted ctrd_exec_container(). It works once, with
 * any handle of the message.
 *
 * @param message  the message.
 * @param out      receives the exec's info, which the caller owns: ctrd_exec_info_free().
 * @param err      receives the error, or NULL.
 * @return CTRD_OK; CTRD_E_FAILED_PRECONDITION if the message holds no such result, or it was taken
 *         before.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_message_take_exec_info(
    ctrd_message_t *message, ctrd_exec_info_t **out, ctrd_error_t **err);

/**
 * The id of an exec among those of its container.
 *
 * @param info  the exec's info; NULL gives "".
 * @return the id, borrowed from the info.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
const char *ctrd_exec_info_id(const ctrd_exec_info_t *info);

/**
 * The id of an exec's process in the host's pid namespace.
 *
 * @param info  the exec's info; NULL gives 0.
 * @return the process id.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
uint32_t ctrd_exec_info_pid(const ctrd_exec_info_t *info);

/**
 * Frees an exec's info.
 *
 * @param info  the exec's info; NULL does nothing.
 *
 * Blocking: no. Threads: owner. Since: 0.1.
 */
void ctrd_exec_info_free(ctrd_exec_info_t *info);

/* Controlling containers --------------------------------------------------------------------------
 *
 * Signals, pauses, restarts, resources and labels of containers that exist. These functions refuse a
 * container that belongs to another owner.
 */

/** A flag of a kill: the signal goes to all processes of the container. */
#define CTRD_KILL_ALL 1

/**
 * A flag of a pause or a resume: if there is no such container, or it has no task, the function succeeds.
 */
#define CTRD_PAUSE_IGNORE_NOT_FOUND 1

/**
 * A signal, and the processes that get it. All-zero sends SIGTERM to one process. The string is
 * only borrowed.
 */
typedef struct ctrd_kill_config_t {
    /** sizeof(ctrd_kill_config_t). */
    size_t size;
    /** The signal by its name, as ctrd_signal_number() takes it. NULL: by its number. */
    const char *signal_name;
    /** CTRD_KILL_ALL, or 0. */
    uint64_t flags;
    /** The signal by its number, at most 64. 0: SIGTERM, unless signal_name is given. */
    uint32_t signal;
    /** Must be 0. */
    uint32_t reserved;
} ctrd_kill_config_t;

/** Initialises a ctrd_kill_config_t: everything is the default. */
#define CTRD_KILL_CONFIG_INIT \
    { sizeof(ctrd_kill_config_t), NULL, 0, 0, 0 }

/** How a container is paused or resumed. All-zero gives the defaults. */
typedef struct ctrd_pause_config_t {
    /** sizeof(ctrd_pause_config_t). */
    size_t size;
    /** Must be 0. */
    size_t reserved;
    /** CTRD_PAUSE_IGNORE_NOT_FOUND, or 0. */
    uint64_t flags;
} ctrd_pause_config_t;

/** Initialises a ctrd_pause_config_t: everything is the default. */
#define CTRD_PAUSE_CONFIG_INIT \
    { sizeof(ctrd_pause_config_t), 0, 0 }

/** How a container is restarted. All-zero gives the defaults. */
typedef struct ctrd_restart_config_t {
    /** sizeof(ctrd_restart_config_t). */
    size_t size;
    /** Must be 0. */
    size_t reserved;
    /**
     * How long the old processes may take to end after SIGTERM, as grace_ms of ctrd_destroy_config_t.
     */
    int64_t grace_ms;
    /**
     * How long the function waits for the output of the old process, as drain_ms of
     * ctrd_destroy_config_t. The new process keeps the time that the container was created with.
     */
    int64_t drain_ms;
    /** Must be 0. */
    uint64_t flags;
} ctrd_restart_config_t;

/** Initialises a ctrd_restart_config_t: everything is the default. */
#define CTRD_RESTART_CONFIG_INIT \
    { sizeof(ctrd_restart_config_t), 0, 0, 0, 0 }

/** A change of a container's resources. The library does not keep the pointer. */
typedef struct ctrd_update_config_t {
    /** sizeof(ctrd_update_config_t). */
    size_t size;
    /**
     * The resources that change, as JSON: an object like linux.resources of the OCI runtime
     * specification. A member that it does not name stays as it is. null removes a member from the
     * specification, without an effect before the next restart. Arrays are replaced as a whole. Required.
     */
    const char *resources_json;
    /** Must be 0. */
    uint64_t flags;
} ctrd_update_config_t;

/** Initialises a ctrd_update_config_t: everything is the default. */
#define CTRD_UPDATE_CONFIG_INIT \
    { sizeof(ctrd_update_config_t), NULL, 0 }

/**
 * Initialises a ctrd_kill_config_t as CTRD_KILL_CONFIG_INIT does, for languages without macros.
 *
 * @param config  the struct; NULL does nothing.
 * @param size    its size in bytes, by the caller's header.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
void ctrd_kill_config_init(ctrd_kill_config_t *config, size_t size);

/**
 * Sends a signal to a process of a container, or to all of them. If the process ends by it, its exit is
 * reported as any other. A process that is paused gets the signal when it is resumed. The function does
 * not wait for other calls that change the container.
 *
 * @param client   the client.
 * @param id       the container's id.
 * @param exec_id  the id of a process that was executed in the container. NULL: the container's first
 *                 process.
 * @param config   the signal; NULL: SIGTERM to this process.
 * @param call     limits of the call; NULL: the defaults (at most the client's call timeout).
 * @param err      receives the error, or NULL.
 * @return CTRD_OK; CTRD_E_NOT_FOUND if there is no such container or process, or the process has ended
 *         (with CTRD_KILL_ALL the end of the first process is no error, because others may remain);
 *         CTRD_E_FAILED_PRECONDITION if the container belongs to another owner, or the executed process
 *         was not started.
 *
 * Blocking: until the signal is sent. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_kill_container(
    ctrd_client_t *client, const char *id, const char *exec_id, const ctrd_kill_config_t *config,
    const ctrd_call_t *call, ctrd_error_t **err);

/**
 * The number of a signal.
 *
 * @param name  its name: "SIGTERM", "TERM", "RTMIN+3", "RTMAX-1", or a number from "0" to "64". Case does
 *              not matter. NULL gives -1.
 * @return the number; -1 if there is no such signal.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
int32_t ctrd_signal_number(const char *name);

/**
 * Initialises a ctrd_pause_config_t as CTRD_PAUSE_CONFIG_INIT does, for languages without macros.
 *
 * @param config  the struct; NULL does nothing.
 * @param size    its size in bytes, by the caller's header.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
void ctrd_pause_config_init(ctrd_pause_config_t *config, size_t size);

/**
 * Pauses all processes of a container, until ctrd_resume_container().
 *
 * @param client  the client.
 * @param id      the container's id.
 * @param config  how it is paused; NULL: the defaults.
 * @param call    limits of the call; NULL: the defaults (at most the client's call timeout).
 * @param err     receives the error, or NULL.
 * @return CTRD_OK; CTRD_E_NOT_FOUND if there is no such container, or it has no task, unless a flag says
 *         otherwise; CTRD_E_FAILED_PRECONDITION if it is paused already, its process has ended, or it
 *         belongs to another owner; CTRD_E_BUSY as ctrd_create_container().
 *
 * Blocking: until the processes are paused. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_pause_container(
    ctrd_client_t *client, const char *id, const ctrd_pause_config_t *config,
    const ctrd_call_t *call, ctrd_error_t **err);

/**
 * Resumes all processes of a container that is paused.
 *
 * @param client  the client.
 * @param id      the container's id.
 * @param config  how it is resumed; NULL: the defaults.
 * @param call    limits of the call; NULL: the defaults (at most the client's call timeout).
 * @param err     receives the error, or NULL.
 * @return CTRD_OK; CTRD_E_NOT_FOUND if there is no such container, or it has no task, unless a flag says
 *         otherwise; CTRD_E_FAILED_PRECONDITION if it is not paused or belongs to another owner;
 *         CTRD_E_BUSY as ctrd_create_container().
 *
 * Blocking: until the processes are resumed. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_resume_container(
    ctrd_client_t *client, const char *id, const ctrd_pause_config_t *config,
    const ctrd_call_t *call, ctrd_error_t **err);

/**
 * Initialises a ctrd_restart_config_t as CTRD_RESTART_CONFIG_INIT does, for languages without macros.
 *
 * @param config  the struct; NULL does nothing.
 * @param size    its size in bytes, by the caller's header.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
void ctrd_restart_config_init(ctrd_restart_config_t *config, size_t size);

/**
 * Ends the processes of a container, as ctrd_destroy_container() does, and starts its command again: in
 * a new task, with the same record, specification and snapshot. What the processes have written to the
 * snapshot stays. A container whose process has ended, was never started, or has no task, gets a new
 * process too.
 *
 * The exit of the old process is reported once, as any other, before the new process starts. Then
 * ctrd_probe() waits for the exit of the new process. Both have one ctrd_message_generation(), which
 * belongs to the container's record: ctrd_message_pid() tells them apart. What the container's clean-up
 * removes (CTRD_CLEANUP_ALL) is not removed after the exit of the old process, but after that of the new
 * one.
 *
 * If a step fails after the old process has ended, the steps of the new process are undone, and the error
 * names the step. Then the container has no task, and another restart can start its command; but with
 * CTRD_CLEANUP_ALL it is removed.
 *
 * @param client   the client.
 * @param id       the container's id.
 * @param config   how it is restarted; NULL: the defaults.
 * @param io       the streams of the new process. Read before everything else. The container's
 *                 specification decides about a terminal: terminal may be 0, and 1 is refused if there is
 *                 none. NULL: the paths and URIs that the old process had (CTRD_IO_PATH), if its task
 *                 still exists; nothing for a stream that was a descriptor.
 * @param call     limits of the call; NULL: the defaults (at most the sum of the grace period, the time
 *                 for the output and the client's call timeout; no end if one of them is CTRD_FOREVER).
 *                 Undoing may take up to 10 s more.
 * @param process_out  receives the new process; may be NULL. A submitted call gives its id by
 *                     ctrd_message_pid(), and its generation by ctrd_message_generation().
 * @param err      receives the error, or NULL.
 * @return CTRD_OK; CTRD_E_NOT_FOUND if there is no such container, or its snapshot is gone;
 *         CTRD_E_FAILED_PRECONDITION if it belongs to another owner, or its record does not say what its
 *         root file system is; CTRD_E_BUSY as ctrd_create_container(); CTRD_E_ABORTED if another client
 *         starts it again and again; CTRD_E_UNKNOWN if runc fails.
 *
 * Blocking: until the new process runs. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_restart_container(
    ctrd_client_t *client, const char *id, const ctrd_restart_config_t *config, const ctrd_io_t *io,
    const ctrd_call_t *call, ctrd_process_t *process_out, ctrd_error_t **err);

/**
 * Initialises a ctrd_update_config_t as CTRD_UPDATE_CONFIG_INIT does, for languages without macros.
 *
 * @param config  the struct; NULL does nothing.
 * @param size    its size in bytes, by the caller's header.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
void ctrd_update_config_init(ctrd_update_config_t *config, size_t size);

/**
 * Changes the resources that a container may use: those of the processes that run, and those in the
 * specification of its record, which count for its next process. If the process has ended, or there is
 * no task, only the record changes. If the runtime refuses the change, the record gets its old
 * specification back.
 *
 * @param client  the client.
 * @param id      the container's id.
 * @param config  what changes.
 * @param call    limits of the call; NULL: the defaults (at most the client's call timeout). If the server
 *                does not answer, undoing may take up to 10 s more.
 * @param err     receives the error, or NULL.
 * @return CTRD_OK; CTRD_E_NOT_FOUND if there is no such container; CTRD_E_FAILED_PRECONDITION if it
 *         belongs to another owner; CTRD_E_BUSY as ctrd_create_container(); CTRD_E_UNKNOWN if the runtime
 *         refuses the change.
 *
 * Blocking: until the resources are changed. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_update_container(
    ctrd_client_t *client, const char *id, const ctrd_update_config_t *config,
    const ctrd_call_t *call, ctrd_error_t **err);

/**
 * Sets and removes labels of a container's record. The other labels stay. Labels that begin with
 * "io.ctrd." are the library's own, and cannot be changed.
 *
 * @param client        the client.
 * @param id            the container's id.
 * @param label_keys    the keys: labels_len strings, all of them different.
 * @param label_values  their values: labels_len strings. NULL or "" removes the label.
 * @param labels_len    the number of labels.
 * @param call          limits of the call; NULL: the defaults (at most the client's call timeout).
 * @param err           receives the error, or NULL.
 * @return CTRD_OK; CTRD_E_NOT_FOUND if there is no such container; CTRD_E_FAILED_PRECONDITION if it
 *         belongs to another owner; CTRD_E_BUSY as ctrd_create_container().
 *
 * Blocking: until the server has answered. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_set_container_labels(
    ctrd_client_t *client, const char *id, const char *const *label_keys,
    const char *const *label_values, size_t labels_len, const ctrd_call_t *call,
    ctrd_error_t **err);

/* Statistics --------------------------------------------------------------------------------------
 *
 * Statistics are what a container uses of the machine, at the time of the call: the figures of its cgroup,
 * each under a constant CTRD_STAT_. They are the same for both versions of cgroups, unless a constant's
 * comment names one. Bytes and nanoseconds are whole numbers. Counters count since the task was created.
 * A figure is absent if the kernel does not give it, and a limit is absent if there is none: 0 is a 0 that
 * the kernel gives.
 */

/** CPU time that the container has used, in nanoseconds. */
#define CTRD_STAT_CPU_USAGE_NS 1

/**
 * The part of CTRD_STAT_CPU_USAGE_NS in user mode. On cgroup v1 the kernel counts it in steps of 10 ms.
 */
#define CTRD_STAT_CPU_USER_NS 2

/**
 * The part of CTRD_STAT_CPU_USAGE_NS in the kernel. On cgroup v1 the kernel counts it in steps of 10 ms.
 */
#define CTRD_STAT_CPU_SYSTEM_NS 3

/**
 * How many periods of the CPU quota have passed. Absent, like the two that follow, until a quota has been in
 * force: the kernel counts periods only with one.
 */
#define CTRD_STAT_CPU_PERIODS 4
/** In how many of them the quota was used up. */
#define CTRD_STAT_CPU_THROTTLED_PERIODS 5
/** How long the container's processes were kept from running by the quota, in nanoseconds. */
#define CTRD_STAT_CPU_THROTTLED_NS 6
/** Memory in use, page cache and kernel memory included. */
#define CTRD_STAT_MEMORY_USAGE_BYTES 7
/** The limit of the memory in use. Absent if there is none. */
#define CTRD_STAT_MEMORY_LIMIT_BYTES 8

/**
 * Memory in use without the page cache that has not been used lately (CTRD_STAT_MEMORY_USAGE_BYTES minus
 * CTRD_STAT_MEMORY_INACTIVE_FILE_BYTES; never below 0), as the kubelet counts it.
 */
#define CTRD_STAT_MEMORY_WORKING_SET_BYTES 9
/** The most memory that was ever in use. On cgroup v2 it needs containerd 2.1 and Linux 5.19. */
#define CTRD_STAT_MEMORY_PEAK_BYTES 10
/** Memory of the processes' own, not backed by a file: rss on cgroup v1, anon on v2. */
#define CTRD_STAT_MEMORY_ANON_BYTES 11
/** Page cache, tmpfs and shared memory included: cache on cgroup v1, file on v2. */
#define CTRD_STAT_MEMORY_FILE_BYTES 12
/** Files that are mapped into processes. */
#define CTRD_STAT_MEMORY_MAPPED_FILE_BYTES 13
/** Page cache that was changed and is not on the disk yet. */
#define CTRD_STAT_MEMORY_DIRTY_BYTES 14
/** Page cache that is being written to disk. */
#define CTRD_STAT_MEMORY_WRITEBACK_BYTES 15
/** The part of CTRD_STAT_MEMORY_ANON_BYTES in transparent huge pages. */
#define CTRD_STAT_MEMORY_ANON_HUGE_BYTES 16
/** Memory of the processes' own that has not been used lately. */
#define CTRD_STAT_MEMORY_INACTIVE_ANON_BYTES 17
/** Memory of the processes' own that has been used lately. */
#define CTRD_STAT_MEMORY_ACTIVE_ANON_BYTES 18
/** Page cache that has not been used lately. */
#define CTRD_STAT_MEMORY_INACTIVE_FILE_BYTES 19
/** Page cache that has been used lately. */
#define CTRD_STAT_MEMORY_ACTIVE_FILE_BYTES 20
/** Memory that cannot be reclaimed, such as locked memory. */
#define CTRD_STAT_MEMORY_UNEVICTABLE_BYTES 21
/** How many page faults there were. */
#define CTRD_STAT_MEMORY_PAGE_FAULTS 22
/** How many of them had to read from a disk. */
#define CTRD_STAT_MEMORY_MAJOR_PAGE_FAULTS 23
/** How often the memory in use met its limit. */
#define CTRD_STAT_MEMORY_LIMIT_HITS 24

/**
 * How many processes the kernel has killed because the memory was used up. On cgroup v1 it is 0 before Linux
 * 4.13.
 */
#define CTRD_STAT_MEMORY_OOM_KILLS 25
/** How often an allocation was about to fail because of the limit. cgroup v2 only. */
#define CTRD_STAT_MEMORY_OOM_EVENTS 26
/** How often memory was reclaimed although less than memory.low was in use. cgroup v2 only. */
#define CTRD_STAT_MEMORY_LOW_EVENTS 27

/**
 * How often processes were slowed down because more than memory.high was in use. cgroup v2 only.
 */
#define CTRD_STAT_MEMORY_HIGH_EVENTS 28

/**
 * 1 while processes wait for memory because the kernel may not kill any, else 0. cgroup v1 only.
 */
#define CTRD_STAT_MEMORY_UNDER_OOM 29
/** 1 if the kernel may not kill processes when the memory is used up, else 0. cgroup v1 only. */
#define CTRD_STAT_MEMORY_OOM_KILL_DISABLED 30

/**
 * The smallest limit of the cgroup and of those above it. Absent if none has one. cgroup v1 only.
 */
#define CTRD_STAT_MEMORY_HIERARCHICAL_LIMIT_BYTES 31
/** Memory of the kernel's for the container. cgroup v1 only. */
#define CTRD_STAT_MEMORY_KERNEL_BYTES 32
/** Buffers of TCP sockets. cgroup v1 only. */
#define CTRD_STAT_MEMORY_KERNEL_TCP_BYTES 33
/** Stacks of the kernel's. cgroup v2 only. */
#define CTRD_STAT_MEMORY_KERNEL_STACK_BYTES 34
/** Data structures of the kernel's. cgroup v2 only. */
#define CTRD_STAT_MEMORY_SLAB_BYTES 35
/** Buffers of sockets. cgroup v2 only. */
#define CTRD_STAT_MEMORY_SOCK_BYTES 36
/** The part of CTRD_STAT_MEMORY_FILE_BYTES that is shared memory or in a tmpfs. cgroup v2 only. */
#define CTRD_STAT_MEMORY_SHMEM_BYTES 37

/**
 * Swap space in use. cgroup v1 counts memory and swap together: there it is the difference of two numbers
 * that were read one after the other. Absent if the kernel does not count swap. On cgroup v2 it is absent as
 * well, like its limit, if the limit is 0 and nothing is in use: containerd then sends the same for both.
 */
#define CTRD_STAT_SWAP_USAGE_BYTES 38

/**
 * The limit of the swap space. Absent if there is none. On cgroup v1 it is the limit of memory and swap
 * minus that of memory.
 */
#define CTRD_STAT_SWAP_LIMIT_BYTES 39
/** The most swap space that was ever in use. cgroup v2 only, with containerd 2.1 and Linux 6.5. */
#define CTRD_STAT_SWAP_PEAK_BYTES 40
/** Memory and swap space in use. cgroup v1 only. */
#define CTRD_STAT_MEMORY_SWAP_USAGE_BYTES 41
/** The limit of memory and swap space together. Absent if there is none. cgroup v1 only. */
#define CTRD_STAT_MEMORY_SWAP_LIMIT_BYTES 42
/** The most memory and swap space that was ever in use. cgroup v1 only. */
#define CTRD_STAT_MEMORY_SWAP_PEAK_BYTES 43
/** How often memory and swap space together met their limit. cgroup v1 only. */
#define CTRD_STAT_MEMORY_SWAP_LIMIT_HITS 44
/** How many processes and threads there are. */
#define CTRD_STAT_PIDS_CURRENT 45
/** The limit of processes and threads. Absent if there is none. */
#define CTRD_STAT_PIDS_LIMIT 46

/**
 * Bytes read from block devices, all together. Absent, like the three that follow, until the kernel lists a
 * device: before the first input or output it lists none. On cgroup v1, Linux 6.x lists only devices that
 * the container has a limit for.
 */
#define CTRD_STAT_IO_READ_BYTES 47
/** Bytes written to block devices. */
#define CTRD_STAT_IO_WRITE_BYTES 48
/** How many operations read from block devices. */
#define CTRD_STAT_IO_READ_OPERATIONS 49
/** How many operations wrote to block devices. */
#define CTRD_STAT_IO_WRITE_OPERATIONS 50
/** Huge pages in use, of all sizes together, in bytes. */
#define CTRD_STAT_HUGE_PAGES_USAGE_BYTES 51

/**
 * How long at least one process waited for a CPU, in nanoseconds. cgroup v2 only, with containerd 2.1.
 */
#define CTRD_STAT_CPU_PRESSURE_SOME_NS 52
/** How long all processes waited for a CPU, in nanoseconds. cgroup v2 only, with containerd 2.1. */
#define CTRD_STAT_CPU_PRESSURE_FULL_NS 53

/**
 * How long at least one process waited for memory, in nanoseconds. cgroup v2 only, with containerd 2.1.
 */
#define CTRD_STAT_MEMORY_PRESSURE_SOME_NS 54

/**
 * How long all processes waited for memory, in nanoseconds. cgroup v2 only, with containerd 2.1.
 */
#define CTRD_STAT_MEMORY_PRESSURE_FULL_NS 55

/**
 * How long at least one process waited for input or output, in nanoseconds. cgroup v2 only, with containerd
 * 2.1.
 */
#define CTRD_STAT_IO_PRESSURE_SOME_NS 56

/**
 * How long all processes waited for input or output, in nanoseconds. cgroup v2 only, with containerd 2.1.
 */
#define CTRD_STAT_IO_PRESSURE_FULL_NS 57

/**
 * Gives the statistics of a container. It need not be this client's.
 *
 * @param client  the client.
 * @param id      the container's id.
 * @param call    limits of the call; NULL: the defaults (at most the client's call timeout).
 * @param out     receives the statistics, which the caller owns: ctrd_stats_free(). A submitted call gives
 *                them by ctrd_message_take_stats().
 * @param err     receives the error, or NULL.
 * @return CTRD_OK; CTRD_E_NOT_FOUND if there is no such container or it has no task;
 *         CTRD_E_FAILED_PRECONDITION if its process has ended; CTRD_E_UNAVAILABLE also if its shim does
 *         not answer within 2 s.
 *
 * Blocking: until the container's shim has answered. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_container_stats(
    ctrd_client_t *client, const char *id, const ctrd_call_t *call, ctrd_stats_t **out,
    ctrd_error_t **err);

/**
 * Takes the statistics out of the completion of a submitted ctrd_container_stats(). It works once, with any
 * handle of the message.
 *
 * @param message  the message.
 * @param out      receives the statistics, which the caller owns: ctrd_stats_free().
 * @param err      receives the error, or NULL.
 * @return CTRD_OK; CTRD_E_FAILED_PRECONDITION if the message holds no such result, or it was taken
 *         before.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_message_take_stats(
    ctrd_message_t *message, ctrd_stats_t **out, ctrd_error_t **err);

/**
 * Gives the statistics of each of these containers; without an id, each container of the namespace.
 * They are in the order of their ids. Containers that do not exist, have no task, or whose process has
 * ended are left out.
 *
 * The function asks the server about all of them with one call. If that has no answer after 1 s, or after a
 * fourth of the call's time, it asks about each by itself, 64 at once. So a shim that does not answer delays
 * the others little: after 2 s its container is given with an error (ctrd_stats_error()) and without
 * figures. While a shim does not answer, later calls ask one by one from the start.
 *
 * @param client   the client.
 * @param ids      the containers' ids: ids_len strings.
 * @param ids_len  the number of ids; 0: all containers of the namespace.
 * @param call     limits of the call; NULL: the defaults (at most the client's call timeout).
 * @param out      receives the statistics, which the caller owns: ctrd_stats_list_free(). A submitted call
 *                 gives them by ctrd_message_take_stats_list().
 * @param err      receives the error, or NULL.
 * @return CTRD_OK, also if shims do not answer; CTRD_E_INVALID_ARGUMENT also for a bad id, named by its
 *         position: "ids[1]".
 *
 * Blocking: until the containers' shims have answered. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_list_stats(
    ctrd_client_t *client, const char *const *ids, size_t ids_len, const ctrd_call_t *call,
    ctrd_stats_list_t **out, ctrd_error_t **err);

/**
 * Takes the statistics out of the completion of a submitted ctrd_list_stats(). It works once, with any
 * handle of the message.
 *
 * @param message  the message.
 * @param out      receives the statistics, which the caller owns: ctrd_stats_list_free().
 * @param err      receives the error, or NULL.
 * @return CTRD_OK; CTRD_E_FAILED_PRECONDITION if the message holds no such result, or it was taken
 *         before.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_message_take_stats_list(
    ctrd_message_t *message, ctrd_stats_list_t **out, ctrd_error_t **err);

/**
 * The name of a figure, as in the JSON: "cpu_usage_ns" for CTRD_STAT_CPU_USAGE_NS. The constants count from
 * 1 without a gap.
 *
 * @param stat  a CTRD_STAT_ constant.
 * @return the text, which is valid for ever; "" if the library does not know the constant.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
const char *ctrd_stat_name(uint32_t stat);

/**
 * A figure.
 *
 * @param stats  the statistics; NULL gives 0.
 * @param stat   the figure: a CTRD_STAT_ constant.
 * @param out    receives the figure if it is not absent; else it is left unchanged. May be NULL.
 * @return 1 if the figure is there; 0 if it is absent or the library does not know the constant.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
int32_t ctrd_stats_get(const ctrd_stats_t *stats, uint32_t stat, uint64_t *out);

/**
 * The id of the container.
 *
 * @param stats  the statistics; NULL gives "".
 * @return the text, borrowed from the statistics.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
const char *ctrd_stats_container_id(const ctrd_stats_t *stats);

/**
 * Why the figures of a container in a list are not known. All of them are absent then.
 *
 * @param stats  the statistics; NULL gives NULL.
 * @return the error, borrowed from the statistics and not to be freed: CTRD_E_UNAVAILABLE if the container's
 *         shim does not answer. NULL if the figures are known, as they are in what ctrd_container_stats()
 *         gives.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
const ctrd_error_t *ctrd_stats_error(const ctrd_stats_t *stats);

/**
 * When the server asked the shim for the figures, by the server's clock.
 *
 * @param stats  the statistics; NULL gives 0.
 * @param out    receives the time if it is known; else it is left unchanged. May be NULL.
 * @return 1 if the time is known, 0 if not.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
int32_t ctrd_stats_time(const ctrd_stats_t *stats, ctrd_time_t *out);

/**
 * The version of the container's cgroup.
 *
 * @param stats  the statistics; NULL gives 0.
 * @return 1 or 2; 0 if the figures are not known, or the shim sent a message that the library cannot read:
 *         then every figure is absent, and ctrd_stats_raw_data() gives the message.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
uint32_t ctrd_stats_cgroup_version(const ctrd_stats_t *stats);

/**
 * All that is known as a JSON object: "container_id", "time" (RFC 3339), "cgroup_version", and each figure
 * that is not absent under its name (ctrd_stat_name()). It also has what there are several of, with members
 * that are left out if they are empty:
 *
 *     cpu_usage_ns_by_cpu   numbers: the CPU time on each CPU (cgroup v1)
 *     io_devices            objects: major, minor, device (cgroup v1), read_bytes, write_bytes,
 *                           read_operations, write_operations
 *     huge_pages            objects: page_size, usage_bytes; on cgroup v1 peak_bytes and limit_hits; on v2
 *                           limit_bytes, if there is a limit
 *     networks              objects, of runtimes with virtual machines: name, rx_bytes, rx_packets,
 *                           rx_errors, rx_dropped, and the same with tx_
 *     cpu_pressure, memory_pressure, io_pressure
 *                           objects with some and full (cgroup v2), and in each of these the percentages
 *                           avg10, avg60 and avg300
 *
 * If the figures are not known, it has only "container_id" and "error", the text of the error.
 *
 * @param stats  the statistics; NULL gives "".
 * @return the text, borrowed from the statistics.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
const char *ctrd_stats_json(const ctrd_stats_t *stats);

/**
 * The type of the message that the shim sent, such as "io.containerd.cgroups.v1.Metrics".
 *
 * @param stats  the statistics; NULL gives "".
 * @return the text, borrowed from the statistics; "" if the figures are not known.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
const char *ctrd_stats_raw_type(const ctrd_stats_t *stats);

/**
 * The message as the shim sent it, in the format of protobuf: ctrd_stats_raw_len() bytes.
 *
 * @param stats  the statistics; NULL gives NULL.
 * @return the bytes, borrowed from the statistics; NULL if there are none.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
const uint8_t *ctrd_stats_raw_data(const ctrd_stats_t *stats);

/**
 * The length of the message that the shim sent, in bytes.
 *
 * @param stats  the statistics; NULL gives 0.
 * @return the length; 0 if the figures are not known.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
size_t ctrd_stats_raw_len(const ctrd_stats_t *stats);

/**
 * Frees statistics that the caller owns. Those of a list are freed with the list.
 *
 * @param stats  the statistics; NULL does nothing.
 *
 * Blocking: no. Threads: owner. Since: 0.1.
 */
void ctrd_stats_free(ctrd_stats_t *stats);

/**
 * The number of containers in a list.
 *
 * @param list  the list; NULL gives 0.
 * @return the number.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
size_t ctrd_stats_list_len(const ctrd_stats_list_t *list);

/**
 * The statistics of one container of a list.
 *
 * @param list   the list; NULL gives NULL.
 * @param index  its position, from 0.
 * @return the statistics, borrowed from the list and not to be freed; NULL beyond the last.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
const ctrd_stats_t *ctrd_stats_list_get(const ctrd_stats_list_t *list, size_t index);

/**
 * Frees a list and the statistics in it.
 *
 * @param list  the list; NULL does nothing.
 *
 * Blocking: no. Threads: owner. Since: 0.1.
 */
void ctrd_stats_list_free(ctrd_stats_list_t *list);

/* Recovery ----------------------------------------------------------------------------------------
 *
 * A program that was restarted takes its containers over: their streams, and the watch of their
 * processes. The exits that happened meanwhile are reported with their real codes as far as containerd
 * still knows them. Only containers with the client's owner label are taken over. A recovery removes
 * none of them; only the clean-up that a container was created with does.
 */

/**
 * The state of a container: its process was created and not started, as when a program dies inside
 * ctrd_create_container(). It is watched. ctrd_start_container() starts it.
 */
#define CTRD_RECOVERY_CREATED 1
/** The state of a container: its process runs, or is paused. It is watched. */
#define CTRD_RECOVERY_RUNNING 2

/**
 * The state of a container: its process has ended. Hooks, queues and ctrd_probe() report the exit.
 */
#define CTRD_RECOVERY_ENDED 3

/**
 * The state of a container: it has no task, and nothing says that its process ever ended. It is left
 * unchanged.
 */
#define CTRD_RECOVERY_NO_TASK 4

/**
 * The state of a container: it could not be taken over, because its shim or the server does not answer,
 * or because of its streams. It is left unchanged.
 */
#define CTRD_RECOVERY_FAILED 5

/**
 * Says where the streams of a container go.
 *
 * It runs on the thread that called ctrd_recover_all(), for one container at a time, when the turn of the
 * container has come: at most 16 containers have descriptors that are not in use yet. It does not run for
 * containers that cannot be taken over. ctrd_client_close() of the same client answers CTRD_E_REENTRANT
 * inside it.
 *
 * @param userdata  the pointer that ctrd_recover_all() was given.
 * @param info      the container's info, borrowed for the time of the call.
 * @param io        receives the streams: descriptors (CTRD_IO_FD or CTRD_IO_FD_TAKE), which are read
 *                  when the function has returned, whatever it returns. The struct is initialised. If it
 *                  is left unchanged, the output of the container is dropped.
 * @return 0; any other value leaves the container unchanged: CTRD_RECOVERY_FAILED.
 */
typedef int32_t (*ctrd_recover_io_fn)(
    void *userdata, const ctrd_container_info_t *info, ctrd_io_t *io);

/**
 * Takes a container over, also if its process has ended. If this client has already taken it over,
 * nothing changes.
 *
 * @param client  the client.
 * @param id      the container's id.
 * @param io      where its streams go: descriptors. Output without one is dropped; NULL: all of it. Read
 *                before everything else.
 * @param call    limits of the call; NULL: the defaults (at most the client's call timeout).
 * @param out     receives the outcome, which the caller owns: ctrd_recovery_free(). Its state is
 *                CTRD_RECOVERY_CREATED, CTRD_RECOVERY_RUNNING or CTRD_RECOVERY_ENDED. May be NULL. A
 *                submitted call gives it by ctrd_message_take_recovery().
 * @param err     receives the error, or NULL.
 * @return CTRD_OK; CTRD_E_NOT_FOUND if there is no such container (CTRD_REASON_NO_CONTAINER), or it has no
 *         task and nothing says that its process ever ended (CTRD_REASON_NO_TASK);
 *         CTRD_E_FAILED_PRECONDITION if it belongs to another owner or to none
 *         (CTRD_REASON_OTHER_OWNER); CTRD_E_BUSY as ctrd_create_container(); CTRD_E_UNAVAILABLE also if
 *         its shim does not answer; CTRD_E_IO also if a stream cannot be opened.
 *
 * Blocking: until the server has answered. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_recover_container(
    ctrd_client_t *client, const char *id, const ctrd_io_t *io, const ctrd_call_t *call,
    ctrd_recovery_t **out, ctrd_error_t **err);

/**
 * Takes the outcome out of the completion of a submitted ctrd_recover_container(). It works once, with
 * any handle of the message.
 *
 * @param message  the message.
 * @param out      receives the outcome, which the caller owns: ctrd_recovery_free().
 * @param err      receives the error, or NULL.
 * @return CTRD_OK; CTRD_E_FAILED_PRECONDITION if the message holds no such result, or it was taken
 *         before.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_message_take_recovery(
    ctrd_message_t *message, ctrd_recovery_t **out, ctrd_error_t **err);

/**
 * Takes over every container of the namespace that has the client's owner label: 16 at the same time, on
 * threads that end with the call, and each within 5 s, for which the time of the callback does not count.
 * A container that is stuck hardly delays the others, and does not make the call fail. FIFOs of containers that
 * no longer exist are removed.
 *
 * @param client    the client.
 * @param io        called for the streams of the containers; NULL: the output of all is dropped. A
 *                  submitted call takes no callback: use ctrd_recover_container() for the containers
 *                  whose streams are wanted.
 * @param userdata  handed to io.
 * @param destroy   called exactly once with userdata before this function returns. May be NULL.
 * @param call      limits of the call; NULL: the defaults (at most the client's call timeout).
 * @param out       receives the outcomes, in the order of the ids, which the caller owns:
 *                  ctrd_recovery_list_free(). May be NULL. A submitted call gives them by
 *                  ctrd_message_take_recovery_list().
 * @param err       receives the error, or NULL.
 * @return CTRD_OK, or an error if the containers could not be listed.
 *
 * Blocking: until every container was looked at. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_recover_all(
    ctrd_client_t *client, ctrd_recover_io_fn io, void *userdata, ctrd_destroy_fn destroy,
    const ctrd_call_t *call, ctrd_recovery_list_t **out, ctrd_error_t **err);

/**
 * Takes the outcomes out of the completion of a submitted ctrd_recover_all(). It works once, with any
 * handle of the message.
 *
 * @param message  the message.
 * @param out      receives the outcomes, which the caller owns: ctrd_recovery_list_free().
 * @param err      receives the error, or NULL.
 * @return CTRD_OK; CTRD_E_FAILED_PRECONDITION if the message holds no such result, or it was taken
 *         before.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_message_take_recovery_list(
    ctrd_message_t *message, ctrd_recovery_list_t **out, ctrd_error_t **err);

/**
 * The id of the container.
 *
 * @param recovery  the outcome; NULL gives "".
 * @return the text, borrowed from the outcome.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
const char *ctrd_recovery_id(const ctrd_recovery_t *recovery);

/**
 * The state of the container: one of the CTRD_RECOVERY_ values.
 *
 * @param recovery  the outcome; NULL gives 0.
 * @return the state; a later version may add some.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
uint32_t ctrd_recovery_state(const ctrd_recovery_t *recovery);

/**
 * The process id of the container's first process, in the host's pid namespace. If the process has ended,
 * another process may have the id.
 *
 * @param recovery  the outcome; NULL gives 0.
 * @return the process id; 0 if it is not known, and if the container was not taken over.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
uint32_t ctrd_recovery_pid(const ctrd_recovery_t *recovery);

/**
 * A number that tells the container from those that had its id before it, or get the id later.
 * ctrd_message_generation() gives the same number. It has no other meaning.
 *
 * @param recovery  the outcome; NULL gives 0.
 * @return the number; 0 if it is not known.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
uint64_t ctrd_recovery_generation(const ctrd_recovery_t *recovery);

/**
 * The exit code of a process that has ended: 128 plus the number of the signal if a signal ended it.
 *
 * @param recovery  the outcome; NULL gives 0.
 * @param out       receives the code if it is known; else it is left unchanged. May be NULL.
 * @return 1 if the code is known; 0 if the process has not ended, never ran, or nothing holds its code.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
int32_t ctrd_recovery_exit_code(const ctrd_recovery_t *recovery, uint32_t *out);

/**
 * Why the container was not taken over.
 *
 * @param recovery  the outcome; NULL gives NULL.
 * @return the error, borrowed from the outcome and not to be freed; NULL if the container was taken over.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
const ctrd_error_t *ctrd_recovery_error(const ctrd_recovery_t *recovery);

/**
 * Frees the outcome of the recovery of a container. The outcomes of a list are freed with the list.
 *
 * @param recovery  the outcome; NULL does nothing.
 *
 * Blocking: no. Threads: owner. Since: 0.1.
 */
void ctrd_recovery_free(ctrd_recovery_t *recovery);

/**
 * The number of containers in a list.
 *
 * @param list  the list; NULL gives 0.
 * @return the number.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
size_t ctrd_recovery_list_len(const ctrd_recovery_list_t *list);

/**
 * The outcome of one container of a list.
 *
 * @param list   the list; NULL gives NULL.
 * @param index  its position, from 0.
 * @return the outcome, borrowed from the list and not to be freed; NULL beyond the last.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
const ctrd_recovery_t *ctrd_recovery_list_get(const ctrd_recovery_list_t *list, size_t index);

/**
 * Frees a list and the outcomes in it.
 *
 * @param list  the list; NULL does nothing.
 *
 * Blocking: no. Threads: owner. Since: 0.1.
 */
void ctrd_recovery_list_free(ctrd_recovery_list_t *list);

/* Hooks -------------------------------------------------------------------------------------------
 *
 * A hook is a function of the program's that receives messages about exits, events or progress. There
 * may be any number of hooks, and they run at the same time. A hook receives the messages about one
 * container in the order in which the library learnt of them.
 *
 * A hook may call any function of this library except ctrd_dispatch(), which answers CTRD_E_REENTRANT.
 * Inside a hook ctrd_remove_hook(), ctrd_client_close() and ctrd_client_free() do not wait.
 */

/**
 * A hook's mode: it runs on a thread of the library's, which blocks every signal. Up to 16 hooks of a
 * client run at once; a hook that does not return keeps its thread.
 */
#define CTRD_HOOK_THREAD 0
/** A hook's mode: it runs only inside ctrd_dispatch(), on the thread that calls that. */
#define CTRD_HOOK_DISPATCH 1

/**
 * The messages that a hook receives, and the way it runs. All-zero is refused: a hook needs kinds. The
 * library does not keep the pointers.
 */
typedef struct ctrd_hook_config_t {
    /** sizeof(ctrd_hook_config_t). */
    size_t size;
    /** Only exits of the container with this id, in any namespace. NULL: of all containers. */
    const char *id;
    /** Only exits of the exec with this id. NULL: of all. */
    const char *exec_id;
    /**
     * Filters of events in containerd's language, as "ctr events" takes them:
     * "topic==\"/tasks/exit\",namespace==default". An event has to pass any of the filters_len
     * filters. NULL and 0: all events of every namespace. Only with CTRD_KIND_EVENT.
     */
    const char *const *filters;
    /** The number of filters. */
    size_t filters_len;
    /** Must be 0. */
    size_t reserved;
    /**
     * The kinds of messages, at least one: CTRD_KIND_EXIT, CTRD_KIND_EXEC_EXIT, CTRD_KIND_EVENT,
     * CTRD_KIND_PROGRESS. With events come CTRD_KIND_GAP and CTRD_KIND_OVERFLOW.
     */
    uint32_t kinds;
    /** Where the hook runs: CTRD_HOOK_THREAD or CTRD_HOOK_DISPATCH. */
    uint32_t mode;
    /**
     * How often the hook may run at once, at most 16; 0: 1. Messages about one container always reach
     * it one after the other, in order; with 1 that holds for all messages.
     */
    uint32_t concurrency;
    /** Must be 0. */
    uint32_t reserved_2;
} ctrd_hook_config_t;

/** Initialises a ctrd_hook_config_t: everything is the default. */
#define CTRD_HOOK_CONFIG_INIT \
    { sizeof(ctrd_hook_config_t), NULL, NULL, NULL, 0, 0, 0, 0, 0, 0 }

/**
 * Receives messages.
 *
 * @param userdata  the pointer that was given with the hook.
 * @param message   the message, borrowed for the time of the call; ctrd_message_ref() keeps it.
 */
typedef void (*ctrd_message_fn)(void *userdata, const ctrd_message_t *message);

/**
 * Initialises a ctrd_hook_config_t as CTRD_HOOK_CONFIG_INIT does, for languages without macros.
 *
 * @param config  the struct; NULL does nothing.
 * @param size    its size in bytes, by the caller's header.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
void ctrd_hook_config_init(ctrd_hook_config_t *config, size_t size);

/**
 * Adds a hook. Exits are those of the processes that this client watches because it has created,
 * started, recovered, watched or probed them; none is dropped.
 *
 * With CTRD_KIND_EVENT the function waits until the server sends events. The hook receives whatever is
 * published after the function has returned, each event once, until the connection breaks: then a
 * message of kind CTRD_KIND_GAP comes before the first event of the new connection. Up to 16384 events
 * wait for the hook; further ones are dropped, and a message of kind CTRD_KIND_OVERFLOW says how many.
 *
 * @param client    the client.
 * @param config    what the hook receives, and how it runs.
 * @param callback  the hook. It may run before this function has returned.
 * @param userdata  handed to it.
 * @param destroy   called exactly once with userdata, when the hook was removed or the client is closed,
 *                  and the hook does not run any more; or when this function fails. If the function fails
 *                  while the hook runs already, it waits for the hook, at most 1 s; a hook that takes
 *                  longer is destroyed when it returns. May be NULL.
 * @param call      limits of the call; NULL: the defaults (at most the client's call timeout). A call
 *                  with a callback cannot be submitted.
 * @param hook_out  receives the hook's number, for ctrd_remove_hook(). It is never 0, and the client
 *                  never uses it again. May be NULL.
 * @param err       receives the error, or NULL.
 * @return CTRD_OK; CTRD_E_INVALID_ARGUMENT also for a filter that containerd cannot read, named by its
 *         position: "filters[1]".
 *
 * Blocking: with CTRD_KIND_EVENT until the server sends events, else no. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_add_hook(
    ctrd_client_t *client, const ctrd_hook_config_t *config, ctrd_message_fn callback,
    void *userdata, ctrd_destroy_fn destroy, const ctrd_call_t *call, uint64_t *hook_out,
    ctrd_error_t **err);

/**
 * Removes a hook. When this function has returned CTRD_OK, the hook does not run any more and its
 * userdata is destroyed. After CTRD_E_TIMEOUT, CTRD_E_WOULD_BLOCK or CTRD_E_CANCELLED the hook still
 * runs; it is not started again, and its userdata is destroyed when it returns. To wait for it, call the
 * function again. Several threads may wait for the same hook, also while another thread closes the
 * client.
 *
 * Inside a hook, whichever it is, the function returns at once and does not wait for the removed hook.
 *
 * @param client  the client.
 * @param hook    the hook's number.
 * @param call    limits of the call; NULL: the defaults (at most 10 s).
 * @param err     receives the error, or NULL.
 * @return CTRD_OK; CTRD_E_NOT_FOUND if there is no such hook, as after it was removed.
 *
 * Blocking: until the hook has returned. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_remove_hook(
    ctrd_client_t *client, uint64_t hook, const ctrd_call_t *call, ctrd_error_t **err);

/**
 * A descriptor that is readable while ctrd_dispatch() has something to do (level-triggered). The program
 * may only poll it: the library keeps it, and closes it with ctrd_client_free(). It is made when it is
 * first asked for, and stays the same.
 *
 * @param client  the client; NULL gives -1.
 * @return the descriptor; -1 if none is left, and in a child of the process that opened the client.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
int32_t ctrd_dispatch_fd(const ctrd_client_t *client);

/**
 * Runs the hooks of mode CTRD_HOOK_DISPATCH on the calling thread, for messages that have come. It does
 * not wait for messages; there may be none. If more are left, the descriptor stays readable.
 *
 * @param client   the client.
 * @param max      for how many messages at most; 0: 1024.
 * @param ran_out  receives for how many it ran hooks; may be NULL.
 * @param err      receives the error, or NULL.
 * @return CTRD_OK; CTRD_E_BUSY if another thread is dispatching; CTRD_E_REENTRANT also inside a hook.
 *
 * Blocking: as long as the hooks take. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_dispatch(
    ctrd_client_t *client, uint32_t max, uint32_t *ran_out, ctrd_error_t **err);

/* Queues ------------------------------------------------------------------------------------------
 *
 * A queue holds messages until they are fetched, and has a descriptor for the program's own loop. If
 * several threads fetch from a queue, each message goes to one of them.
 */

/** How a queue is made. All-zero gives the defaults. */
typedef struct ctrd_queue_config_t {
    /** sizeof(ctrd_queue_config_t). */
    size_t size;
    /** Must be 0. */
    size_t reserved;
    /**
     * How many events and steps of progress the queue holds before further ones are dropped, at most
     * 1048576; 0: 1024. Exits and completions are never dropped.
     */
    uint32_t capacity;
    /**
     * How many exits may wait in the queue before the clients that are subscribed make no further
     * process: creating and starting then answers CTRD_E_RESOURCE_EXHAUSTED. 0: 65536.
     */
    uint32_t max_exits;
    /**
     * How many calls that belong to no client may be in flight; completions that nobody has fetched
     * count. 0: 1024.
     */
    uint32_t max_calls;
    /** Must be 0. */
    uint32_t reserved_2;
} ctrd_queue_config_t;

/** Initialises a ctrd_queue_config_t: everything is the default. */
#define CTRD_QUEUE_CONFIG_INIT \
    { sizeof(ctrd_queue_config_t), 0, 0, 0, 0, 0 }

/**
 * The messages of a client that a queue receives. All-zero is refused: a subscription needs kinds. The
 * library does not keep the pointers.
 */
typedef struct ctrd_subscription_config_t {
    /** sizeof(ctrd_subscription_config_t). */
    size_t size;
    /**
     * Filters of events, as in ctrd_hook_config_t: filters_len strings. Only with CTRD_KIND_EVENT.
     */
    const char *const *filters;
    /** The number of filters. */
    size_t filters_len;
    /** Must be 0. */
    size_t reserved;
    /** The tag of its messages: ctrd_message_tag(). */
    uint64_t tag;
    /**
     * The kinds of messages, at least one: CTRD_KIND_EXIT, CTRD_KIND_EXEC_EXIT, CTRD_KIND_EVENT,
     * CTRD_KIND_PROGRESS. CTRD_KIND_GAP and CTRD_KIND_OVERFLOW come with them, and CTRD_KIND_CLOSED
     * when the client is closed.
     */
    uint32_t kinds;
    /** Must be 0. */
    uint32_t reserved_2;
} ctrd_subscription_config_t;

/** Initialises a ctrd_subscription_config_t: everything is the default. */
#define CTRD_SUBSCRIPTION_CONFIG_INIT \
    { sizeof(ctrd_subscription_config_t), NULL, 0, 0, 0, 0, 0 }

/**
 * Initialises a ctrd_queue_config_t as CTRD_QUEUE_CONFIG_INIT does, for languages without macros.
 *
 * @param config  the struct; NULL does nothing.
 * @param size    its size in bytes, by the caller's header.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
void ctrd_queue_config_init(ctrd_queue_config_t *config, size_t size);

/**
 * Makes a queue. It belongs to no client: subscriptions to any number of clients, and submitted calls,
 * fill it. It makes no thread.
 *
 * A queue never holds anything up. If it is full, events and steps of progress that come are dropped,
 * and a message of kind CTRD_KIND_OVERFLOW says how many. Exits and completions are never dropped.
 *
 * @param config  how; NULL: the defaults. Only borrowed.
 * @param out     receives the queue, which the caller owns: ctrd_queue_free().
 * @param err     receives the error, or NULL.
 * @return CTRD_OK.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_queue_new(
    const ctrd_queue_config_t *config, ctrd_queue_t **out, ctrd_error_t **err);

/**
 * Initialises a ctrd_subscription_config_t as CTRD_SUBSCRIPTION_CONFIG_INIT does, for languages without
 * macros.
 *
 * @param config  the struct; NULL does nothing.
 * @param size    its size in bytes, by the caller's header.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
void ctrd_subscription_config_init(ctrd_subscription_config_t *config, size_t size);

/**
 * Subscribes a queue to the messages of a client: the queue receives what happens from then on. Which
 * exits and events come is as for ctrd_add_hook(). When the client is closed, the queue receives the
 * exits that are known, and then one last message of kind CTRD_KIND_CLOSED with the subscription's tag.
 *
 * @param queue   the queue.
 * @param client  the client.
 * @param config  what the queue receives.
 * @param call    limits of the call; NULL: the defaults (at most the client's call timeout).
 * @param out     receives the subscription, which the caller owns: ctrd_subscription_free(). It may be
 *                freed before or after the queue and the client. A submitted call gives it by
 *                ctrd_message_take_subscription().
 * @param err     receives the error, or NULL.
 * @return CTRD_OK; CTRD_E_INVALID_ARGUMENT also for a filter that containerd cannot read, named by its
 *         position: "filters[1]".
 *
 * Blocking: with CTRD_KIND_EVENT until the server sends events, else no. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_queue_subscribe(
    ctrd_queue_t *queue, ctrd_client_t *client, const ctrd_subscription_config_t *config,
    const ctrd_call_t *call, ctrd_subscription_t **out, ctrd_error_t **err);

/**
 * Takes the subscription out of the completion of a submitted ctrd_queue_subscribe(). It works once,
 * with any handle of the message.
 *
 * @param message  the message.
 * @param out      receives the subscription, which the caller owns: ctrd_subscription_free().
 * @param err      receives the error, or NULL.
 * @return CTRD_OK; CTRD_E_FAILED_PRECONDITION if the message holds no such result, or it was taken
 *         before.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_message_take_subscription(
    ctrd_message_t *message, ctrd_subscription_t **out, ctrd_error_t **err);

/**
 * Ends a subscription. What the queue holds already stays there. In a child of the process that made the
 * subscription, it does nothing.
 *
 * @param subscription  the subscription; NULL does nothing.
 *
 * Blocking: no. Threads: owner. Since: 0.1.
 */
void ctrd_subscription_free(ctrd_subscription_t *subscription);

/**
 * A descriptor that is readable while a queue holds a message (level-triggered). The program may only
 * poll it: the library keeps it, and closes it with ctrd_queue_free(). It is made when it is first asked
 * for, and stays the same.
 *
 * @param queue  the queue; NULL gives -1.
 * @return the descriptor; -1 in a child of the process that made the queue, and if no descriptor is left.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
int32_t ctrd_queue_fd(const ctrd_queue_t *queue);

/**
 * Waits for the next message, and fetches it. ctrd_queue_try_next() does not wait.
 *
 * @param queue  the queue.
 * @param call   limits of the call; NULL: the defaults (no end). It cannot be submitted, and its
 *               namespace and lease are not used.
 * @param out    receives the message, which the caller owns: ctrd_message_free().
 * @param err    receives the error, or NULL.
 * @return CTRD_OK; CTRD_E_WOULD_BLOCK with CTRD_POLL if there is no message.
 *
 * Blocking: until there is a message. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_queue_next(
    ctrd_queue_t *queue, const ctrd_call_t *call, ctrd_message_t **out, ctrd_error_t **err);

/**
 * Fetches the next message if there is one. Several messages may have come, so a loop that polls the
 * descriptor calls this function until it does not return CTRD_OK.
 *
 * @param queue  the queue.
 * @param out    receives the message, which the caller owns: ctrd_message_free().
 * @param err    receives the error, or NULL.
 * @return CTRD_OK; CTRD_E_WOULD_BLOCK if there is no message.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_queue_try_next(
    ctrd_queue_t *queue, ctrd_message_t **out, ctrd_error_t **err);

/**
 * Frees a queue with the messages that it holds. Subscriptions to it end. Submitted calls that are under
 * way run on, and their completions are dropped. In a child of the process that made the queue it does
 * nothing.
 *
 * @param queue  the queue; NULL does nothing.
 *
 * Blocking: no. Threads: owner. Since: 0.1.
 */
void ctrd_queue_free(ctrd_queue_t *queue);

/* Images --------------------------------------------------------------------------------------- */

/**
 * A removal's flag: return only when everything that only the image referred to has been collected.
 */
#define CTRD_REMOVE_IMAGE_SYNC 1

/**
 * Looks an image up: the image of exactly this name or, if there is none, that of the completed name. So
 * "busybox" is an image that another program recorded as "busybox", and otherwise
 * "docker.io/library/busybox:latest".
 *
 * @param client     the client.
 * @param reference  the image's name.
 * @param call       limits of the call; NULL: the defaults (at most the client's call timeout).
 * @param out        receives the image's info, which the caller owns: ctrd_image_info_free(). A submitted
 *                   call gives it by ctrd_message_take_image_info().
 * @param err        receives the error, or NULL.
 * @return CTRD_OK; CTRD_E_NOT_FOUND if there is no such image.
 *
 * Blocking: until the server has answered. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_get_image(
    ctrd_client_t *client, const char *reference, const ctrd_call_t *call, ctrd_image_info_t **out,
    ctrd_error_t **err);

/**
 * Takes the image's info out of the completion of a submitted ctrd_get_image() or ctrd_pull_image(). It
 * works once, with any handle of the message.
 *
 * @param message  the message.
 * @param out      receives the image's info, which the caller owns: ctrd_image_info_free().
 * @param err      receives the error, or NULL.
 * @return CTRD_OK; CTRD_E_FAILED_PRECONDITION if the message holds no such result, or it was taken
 *         before.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_message_take_image_info(
    ctrd_message_t *message, ctrd_image_info_t **out, ctrd_error_t **err);

/**
 * Lists the images that match at least one of the filters; all of them if there is no filter.
 *
 * @param client       the client.
 * @param filters      filters in containerd's language, as in "name~=busybox": filters_len strings.
 * @param filters_len  the number of filters.
 * @param call         limits of the call; NULL: the defaults (at most the client's call timeout).
 * @param out          receives the images, which the caller owns: ctrd_image_info_list_free(). A
 *                     submitted call gives them by ctrd_message_take_image_info_list().
 * @param err          receives the error, or NULL.
 * @return CTRD_OK; CTRD_E_INVALID_ARGUMENT also for a filter that containerd cannot read, named by its
 *         position: "filters[1]".
 *
 * Blocking: until the server has answered. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_list_images(
    ctrd_client_t *client, const char *const *filters, size_t filters_len, const ctrd_call_t *call,
    ctrd_image_info_list_t **out, ctrd_error_t **err);

/**
 * Takes the images out of the completion of a submitted ctrd_list_images(). It works once, with any
 * handle of the message.
 *
 * @param message  the message.
 * @param out      receives the images, which the caller owns: ctrd_image_info_list_free().
 * @param err      receives the error, or NULL.
 * @return CTRD_OK; CTRD_E_FAILED_PRECONDITION if the message holds no such result, or it was taken
 *         before.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_message_take_image_info_list(
    ctrd_message_t *message, ctrd_image_info_list_t **out, ctrd_error_t **err);

/**
 * Removes an image's record. The next garbage collection removes what only the image referred to. The
 * image is looked up as by ctrd_get_image(). So removing a short name twice may remove two images: that of
 * exactly this name, then that of the completed name. After CTRD_ERROR_OUTCOME_UNKNOWN, look before you
 * repeat.
 *
 * @param client     the client.
 * @param reference  the image's name.
 * @param flags      CTRD_REMOVE_IMAGE_SYNC, or 0.
 * @param call       limits of the call; NULL: the defaults (at most the client's call timeout).
 * @param err        receives the error, or NULL.
 * @return CTRD_OK; CTRD_E_NOT_FOUND if there is no such image.
 *
 * Blocking: until the server has answered. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_remove_image(
    ctrd_client_t *client, const char *reference, uint32_t flags, const ctrd_call_t *call,
    ctrd_error_t **err);

/**
 * An image's full reference.
 *
 * @param info  the image's info; NULL gives "".
 * @return the text, borrowed from the info.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
const char *ctrd_image_info_name(const ctrd_image_info_t *info);

/**
 * The first 12 hexadecimal digits of an image's digest.
 *
 * @param info  the image's info; NULL gives "".
 * @return the text, borrowed from the info.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
const char *ctrd_image_info_id(const ctrd_image_info_t *info);

/**
 * The digest of the index or manifest that an image's name refers to.
 *
 * @param info  the image's info; NULL gives "".
 * @return the text, borrowed from the info.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
const char *ctrd_image_info_digest(const ctrd_image_info_t *info);

/**
 * The media type of the index or manifest that an image's name refers to.
 *
 * @param info  the image's info; NULL gives "".
 * @return the text, borrowed from the info.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
const char *ctrd_image_info_media_type(const ctrd_image_info_t *info);

/**
 * The size of an image's manifest, configuration and layers for this machine's platform.
 *
 * @param info  the image's info; NULL gives 0.
 * @return the size in bytes.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
uint64_t ctrd_image_info_size(const ctrd_image_info_t *info);

/**
 * The number of an image's labels.
 *
 * @param info  the image's info; NULL gives 0.
 * @return the number.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
size_t ctrd_image_info_labels_len(const ctrd_image_info_t *info);

/**
 * The key of one of an image's labels.
 *
 * @param info   the image's info; NULL gives NULL.
 * @param index  its position, from 0, in the order of the keys.
 * @return the text, borrowed from the info; NULL beyond the last.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
const char *ctrd_image_info_label_key(const ctrd_image_info_t *info, size_t index);

/**
 * The value of one of an image's labels.
 *
 * @param info   the image's info; NULL gives NULL.
 * @param index  its position, from 0, in the order of the keys.
 * @return the text, borrowed from the info; NULL beyond the last.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
const char *ctrd_image_info_label_value(const ctrd_image_info_t *info, size_t index);

/**
 * When an image's record was made, by the server's clock.
 *
 * @param info  the image's info; NULL gives 0.
 * @param out   receives the time if it is known; else it is left unchanged. May be NULL.
 * @return 1 if the time is known, 0 if not.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
int32_t ctrd_image_info_created_at(const ctrd_image_info_t *info, ctrd_time_t *out);

/**
 * When an image's record last changed, by the server's clock.
 *
 * @param info  the image's info; NULL gives 0.
 * @param out   receives the time if it is known; else it is left unchanged. May be NULL.
 * @return 1 if the time is known, 0 if not.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
int32_t ctrd_image_info_updated_at(const ctrd_image_info_t *info, ctrd_time_t *out);

/**
 * Frees an image's info that the caller owns. The infos of a list are freed with the list.
 *
 * @param info  the info; NULL does nothing.
 *
 * Blocking: no. Threads: owner. Since: 0.1.
 */
void ctrd_image_info_free(ctrd_image_info_t *info);

/**
 * The number of images in a list.
 *
 * @param list  the list; NULL gives 0.
 * @return the number.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
size_t ctrd_image_info_list_len(const ctrd_image_info_list_t *list);

/**
 * One image of a list.
 *
 * @param list   the list; NULL gives NULL.
 * @param index  its position, from 0.
 * @return the image's info, borrowed from the list and not to be freed; NULL beyond the last.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
const ctrd_image_info_t *ctrd_image_info_list_get(const ctrd_image_info_list_t *list, size_t index);

/**
 * Frees a list and the infos in it.
 *
 * @param list  the list; NULL does nothing.
 *
 * Blocking: no. Threads: owner. Since: 0.1.
 */
void ctrd_image_info_list_free(ctrd_image_info_list_t *list);

/* Pulling images ------------------------------------------------------------------------------- */

/**
 * A pull's flag: use HTTP to talk to the registry. Without it only loopback addresses are tried with
 * HTTP.
 */
#define CTRD_PULL_PLAIN_HTTP 1
/** A pull's flag: fetch the content and do not unpack it. */
#define CTRD_PULL_NO_UNPACK 2

/**
 * Receives the progress of a pull, about every 100 ms and once at the end.
 *
 * It runs on the thread that called ctrd_pull_image(). It may call every function of this library except
 * ctrd_client_close() of the same client, which answers CTRD_E_REENTRANT, and ctrd_client_free() of the
 * same client.
 *
 * @param userdata  the pointer that ctrd_progress_callback_new() was given.
 * @param progress  the state of everything that is fetched, borrowed for the time of the call.
 */
typedef void (*ctrd_progress_fn)(void *userdata, const ctrd_progress_list_t *progress);

/** The image that is to be pulled, and how. The library does not keep the pointers. */
typedef struct ctrd_pull_config_t {
    /** sizeof(ctrd_pull_config_t). */
    size_t size;
    /**
     * The image, as in "docker.io/library/busybox:latest", or a short form of it ("busybox"). Required.
     */
    const char *reference;
    /** The platform, as in "linux/arm64/v8". NULL: that of this machine. */
    const char *platform;
    /** The snapshotter. NULL: the client's. */
    const char *snapshotter;
    /**
     * The user's name at the registry that the reference names; no other registry gets it. If the
     * registry refers to a token server, name and secret go there only if the server is on the
     * registry's own host (and uses HTTPS, unless the registry itself is used over HTTP), or is Docker
     * Hub's and the registry is Docker Hub, or is among token_hosts. Otherwise the pull fails with
     * CTRD_E_UNAUTHENTICATED. NULL: none.
     */
    const char *username;
    /** The user's password or access token. NULL: none. */
    const char *secret;
    /**
     * Other hosts that may be the registry's token server and get name and secret: token_hosts_len
     * names, or "name:port" for one port alone. GitLab's registry.gitlab.com needs "gitlab.com".
     */
    const char *const *token_hosts;
    /** The number of token_hosts. */
    size_t token_hosts_len;
    /**
     * Receives the progress. The pull keeps it until it is over, so the handle may be freed at any time.
     * NULL: none. Must be NULL if the call is submitted: its progress comes as messages
     * (ctrd_message_progress()).
     */
    ctrd_progress_callback_t *progress;
    /** Must be 0. */
    size_t reserved;
    /** CTRD_PULL_PLAIN_HTTP, CTRD_PULL_NO_UNPACK, both, or 0. */
    uint64_t flags;
} ctrd_pull_config_t;

/** Initialises a ctrd_pull_config_t: everything is the default. */
#define CTRD_PULL_CONFIG_INIT \
    { sizeof(ctrd_pull_config_t), NULL, NULL, NULL, NULL, NULL, NULL, 0, NULL, 0, 0 }

/**
 * Makes a callback for the progress of pulls, to be given in ctrd_pull_config_t. It may be given to any
 * number of pulls, at the same time too, and then several threads run it at once.
 *
 * @param callback  the function.
 * @param userdata  handed to it.
 * @param destroy   called exactly once with userdata, when the handle is freed and the last pull that has
 *                  it is over, or when this function fails. May be NULL.
 * @param out       receives the handle, which the caller owns: ctrd_progress_callback_free().
 * @param err       receives the error, or NULL.
 * @return CTRD_OK, or an error.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_progress_callback_new(
    ctrd_progress_fn callback, void *userdata, ctrd_destroy_fn destroy,
    ctrd_progress_callback_t **out, ctrd_error_t **err);

/**
 * Frees the handle of a callback. Pulls that have it keep it until they are over. In a child of the
 * process that made the handle, the userdata is left alone.
 *
 * @param callback  the handle; NULL does nothing.
 *
 * Blocking: no. Threads: owner. Since: 0.1.
 */
void ctrd_progress_callback_free(ctrd_progress_callback_t *callback);

/**
 * Initialises a ctrd_pull_config_t as CTRD_PULL_CONFIG_INIT does, for languages without macros.
 *
 * @param config  the struct; NULL does nothing.
 * @param size    its size in bytes, by the caller's header.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
void ctrd_pull_config_init(ctrd_pull_config_t *config, size_t size);

/**
 * Pulls an image and unpacks it, and keeps it safe from containerd's garbage collector meanwhile.
 * Content that containerd already has is not fetched again, and a fetch that was interrupted continues.
 * If the server does not answer, cleaning up may take up to 6 s beyond the call's timeout.
 *
 * @param client  the client.
 * @param config  what to pull.
 * @param call    limits of the call; NULL: the defaults (no end, as long as data keeps coming).
 * @param out     receives the image's info, which the caller owns: ctrd_image_info_free(); may be NULL.
 *                A submitted call gives it by ctrd_message_take_image_info().
 * @param err     receives the error, or NULL.
 * @return CTRD_OK; CTRD_E_INVALID_ARGUMENT also if the reference cannot be read; CTRD_E_NOT_FOUND if
 *         the registry does not have the image, or not for the platform; CTRD_E_UNAUTHENTICATED if the
 *         registry refuses the credentials, or refers to a token server that may not get them;
 *         CTRD_E_PERMISSION_DENIED if the registry does not allow it; CTRD_E_DATA_LOSS if a digest is
 *         wrong; CTRD_E_UNAVAILABLE also if the registry cannot be reached.
 *
 * Blocking: until the image is complete. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_pull_image(
    ctrd_client_t *client, const ctrd_pull_config_t *config, const ctrd_call_t *call,
    ctrd_image_info_t **out, ctrd_error_t **err);

/* Snapshots ---------------------------------------------------------------------------------------
 *
 * A snapshot is the file system of an image or a container.
 */

/** A snapshot's kind: it can be mounted read-only. */
#define CTRD_SNAPSHOT_VIEW 1
/** A snapshot's kind: it can be written to, like that of a container. */
#define CTRD_SNAPSHOT_ACTIVE 2
/** A snapshot's kind: it does not change any more, like that of a layer. */
#define CTRD_SNAPSHOT_COMMITTED 3

/**
 * Looks a snapshot up.
 *
 * @param client       the client.
 * @param snapshotter  the snapshotter that has it; NULL: the client's.
 * @param key          its key, or its name if it is committed.
 * @param call         limits of the call; NULL: the defaults (at most the client's call timeout).
 * @param out          receives the snapshot's info, which the caller owns: ctrd_snapshot_info_free(). A
 *                     submitted call gives it by ctrd_message_take_snapshot_info().
 * @param err          receives the error, or NULL.
 * @return CTRD_OK; CTRD_E_NOT_FOUND if there is no such snapshot; CTRD_E_INVALID_ARGUMENT also if
 *         there is no such snapshotter.
 *
 * Blocking: until the server has answered. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_get_snapshot(
    ctrd_client_t *client, const char *snapshotter, const char *key, const ctrd_call_t *call,
    ctrd_snapshot_info_t **out, ctrd_error_t **err);

/**
 * Takes the snapshot's info out of the completion of a submitted ctrd_get_snapshot(). It works once,
 * with any handle of the message.
 *
 * @param message  the message.
 * @param out      receives the snapshot's info, which the caller owns: ctrd_snapshot_info_free().
 * @param err      receives the error, or NULL.
 * @return CTRD_OK; CTRD_E_FAILED_PRECONDITION if the message holds no such result, or it was taken
 *         before.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_message_take_snapshot_info(
    ctrd_message_t *message, ctrd_snapshot_info_t **out, ctrd_error_t **err);

/**
 * Removes a snapshot.
 *
 * @param client       the client.
 * @param snapshotter  the snapshotter that has it; NULL: the client's.
 * @param key          its key, or its name if it is committed.
 * @param call         limits of the call; NULL: the defaults (at most the client's call timeout).
 * @param err          receives the error, or NULL.
 * @return CTRD_OK; CTRD_E_NOT_FOUND if there is no such snapshot; CTRD_E_FAILED_PRECONDITION if it is
 *         the parent of another one; CTRD_E_INVALID_ARGUMENT also if there is no such snapshotter.
 *
 * Blocking: until the server has answered. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_remove_snapshot(
    ctrd_client_t *client, const char *snapshotter, const char *key, const ctrd_call_t *call,
    ctrd_error_t **err);

/**
 * A snapshot's key, or its name if it is committed.
 *
 * @param info  the snapshot's info; NULL gives "".
 * @return the text, borrowed from the info.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
const char *ctrd_snapshot_info_name(const ctrd_snapshot_info_t *info);

/**
 * The name of a snapshot's parent.
 *
 * @param info  the snapshot's info; NULL gives "".
 * @return the text, borrowed from the info; "" if the snapshot has no parent.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
const char *ctrd_snapshot_info_parent(const ctrd_snapshot_info_t *info);

/**
 * A snapshot's kind: CTRD_SNAPSHOT_VIEW, CTRD_SNAPSHOT_ACTIVE or CTRD_SNAPSHOT_COMMITTED.
 *
 * @param info  the snapshot's info; NULL gives 0.
 * @return the kind; a later version may add some.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
uint32_t ctrd_snapshot_info_kind(const ctrd_snapshot_info_t *info);

/**
 * The number of a snapshot's labels.
 *
 * @param info  the snapshot's info; NULL gives 0.
 * @return the number.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
size_t ctrd_snapshot_info_labels_len(const ctrd_snapshot_info_t *info);

/**
 * The key of one of a snapshot's labels.
 *
 * @param info   the snapshot's info; NULL gives NULL.
 * @param index  its position, from 0, in the order of the keys.
 * @return the text, borrowed from the info; NULL beyond the last.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
const char *ctrd_snapshot_info_label_key(const ctrd_snapshot_info_t *info, size_t index);

/**
 * The value of one of a snapshot's labels.
 *
 * @param info   the snapshot's info; NULL gives NULL.
 * @param index  its position, from 0, in the order of the keys.
 * @return the text, borrowed from the info; NULL beyond the last.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
const char *ctrd_snapshot_info_label_value(const ctrd_snapshot_info_t *info, size_t index);

/**
 * When a snapshot was made, by the server's clock.
 *
 * @param info  the snapshot's info; NULL gives 0.
 * @param out   receives the time if it is known; else it is left unchanged. May be NULL.
 * @return 1 if the time is known, 0 if not.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
int32_t ctrd_snapshot_info_created_at(const ctrd_snapshot_info_t *info, ctrd_time_t *out);

/**
 * When a snapshot last changed, by the server's clock.
 *
 * @param info  the snapshot's info; NULL gives 0.
 * @param out   receives the time if it is known; else it is left unchanged. May be NULL.
 * @return 1 if the time is known, 0 if not.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
int32_t ctrd_snapshot_info_updated_at(const ctrd_snapshot_info_t *info, ctrd_time_t *out);

/**
 * Frees a snapshot's info; the snapshot itself is not touched.
 *
 * @param info  the info; NULL does nothing.
 *
 * Blocking: no. Threads: owner. Since: 0.1.
 */
void ctrd_snapshot_info_free(ctrd_snapshot_info_t *info);

/* Specifications ------------------------------------------------------------------------------- */

/**
 * Makes containerd's default OCI runtime specification for Linux, as JSON. A program can change it, and
 * give it to ctrd_create_container(). Its cgroups path is /<namespace>/<id>.
 *
 * @param namespace_name  the container's namespace; NULL: "default".
 * @param id              the container's id.
 * @param json_out        receives the specification, which the caller owns: ctrd_string_free().
 * @param err             receives the error, or NULL.
 * @return CTRD_OK, or an error.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_default_spec(
    const char *namespace_name, const char *id, char **json_out, ctrd_error_t **err);

/**
 * Makes the specification that ctrd_create_container() uses by default for a container of an image, as
 * JSON: the default of ctrd_default_spec(), with the image's configuration applied to it, and without a
 * terminal. A program can change it, and give it as spec_json. If the image names no command, there is no
 * process.args: the program sets it, or gives args to ctrd_create_container().
 *
 * The image's user is looked up in its files, unless the image gives it as two numbers. For that the
 * library makes a read-only snapshot of the image, and removes it again; an image that is not unpacked is
 * unpacked first. If the server does not answer, cleaning up may take up to 6 s beyond the call's timeout.
 *
 * @param client    the client.
 * @param image     the image, which must have been pulled, as in ctrd_container_config_t.
 * @param id        the container's id, of which the cgroups path is made.
 * @param call      limits of the call; NULL: the defaults (at most the client's call timeout).
 * @param json_out  receives the specification, which the caller owns: ctrd_string_free(). A submitted
 *                  call gives it by ctrd_message_take_string().
 * @param err       receives the error, or NULL.
 * @return CTRD_OK; CTRD_E_NOT_FOUND if there is no such image; CTRD_E_FAILED_PRECONDITION if its user
 *         cannot be found in its files.
 *
 * Blocking: until the server has answered. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_image_spec(
    ctrd_client_t *client, const char *image, const char *id, const ctrd_call_t *call,
    char **json_out, ctrd_error_t **err);

/**
 * Takes the text out of the completion of a submitted ctrd_image_spec(). It works once, with any handle
 * of the message.
 *
 * @param message  the message.
 * @param out      receives the text, which the caller owns: ctrd_string_free().
 * @param err      receives the error, or NULL.
 * @return CTRD_OK; CTRD_E_FAILED_PRECONDITION if the message holds no such result, or it was taken
 *         before.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_message_take_string(
    ctrd_message_t *message, char **out, ctrd_error_t **err);

/**
 * Frees a string that the library gave to the caller.
 *
 * @param string  the string; NULL does nothing.
 *
 * Blocking: no. Threads: owner. Since: 0.1.
 */
void ctrd_string_free(char *string);

/* A private containerd ----------------------------------------------------------------------------
 *
 * A program can have a containerd of its own, with its own root, state and sockets.
 *
 * The library supervises it. If it dies, the library starts it again at the same address, with the
 * environment of the first start. The first restart comes at once, the next one 100 ms after the next
 * death, and each further delay is twice as long, up to 10 s. After a containerd has run for 30 s, the
 * delays begin from the first again. The containers keep running meanwhile, and open clients find the
 * new containerd by themselves. The log hook receives the cause of each death. A containerd that hangs
 * is not dead: it is left alone, and calls time out.
 */

/** A private containerd's flag: it is not started again when it dies. */
#define CTRD_DAEMON_NO_RESTART 1

/**
 * A private containerd's flag: only ctrd_daemon_stop() ends it; it survives the end of the process and
 * ctrd_daemon_free().
 */
#define CTRD_DAEMON_OUTLIVE 2

/** How a private containerd is to run. The library does not keep the pointers. */
typedef struct ctrd_daemon_config_t {
    /** sizeof(ctrd_daemon_config_t). */
    size_t size;
    /**
     * The directory of everything that it has: root, state, sockets, configuration, log. It is an
     * absolute path, short enough for that of a socket. If it does not exist, it is made with mode 0700;
     * otherwise it must be empty, or that of a private containerd that was not stopped. Required.
     */
    const char *directory;
    /** The containerd to run: a path, or a name to search for. NULL: "containerd". */
    const char *binary;
    /**
     * path_len directories in which containerd, its shims and runc are searched for before those of PATH.
     */
    const char *const *path;
    /** The number of directories in path. */
    size_t path_len;
    /** Must be 0. */
    size_t reserved;
    /** CTRD_DAEMON_NO_RESTART, CTRD_DAEMON_OUTLIVE, both, or 0. */
    uint64_t flags;
} ctrd_daemon_config_t;

/** Initialises a ctrd_daemon_config_t: everything is the default. */
#define CTRD_DAEMON_CONFIG_INIT \
    { sizeof(ctrd_daemon_config_t), NULL, NULL, NULL, 0, 0, 0 }

/**
 * Initialises a ctrd_daemon_config_t as CTRD_DAEMON_CONFIG_INIT does, for languages without macros.
 *
 * @param config  the struct; NULL does nothing.
 * @param size    its size in bytes, by the caller's header.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
void ctrd_daemon_config_init(ctrd_daemon_config_t *config, size_t size);

/**
 * Starts a private containerd, and waits until it answers and its plugins are loaded. If the start
 * fails, what it has made is removed, which may take up to 10 s beyond the call's timeout.
 *
 * When this process dies, the kernel kills the containerd; with CTRD_DAEMON_OUTLIVE it keeps running,
 * unsupervised (unless a service manager ends it with the process's control group). In both cases its
 * containers keep running. The next start in the same directory ends a containerd that still runs there,
 * starts its own, and has the containers. While the owner lives, a second start in the directory fails.
 *
 * No two containers on the machine may have the same id in namespaces of the same name, even in
 * different containerds: they would share runc's state and a cgroup.
 *
 * @param config  how it is to run.
 * @param call    limits of the call; NULL: the defaults (at most 20 s).
 * @param out     receives the daemon, which the caller owns: ctrd_daemon_free(). A submitted call gives
 *                it by ctrd_message_take_daemon().
 * @param err     receives the error, or NULL.
 * @return CTRD_OK; CTRD_E_INVALID_ARGUMENT also for a directory that cannot be used; CTRD_E_NOT_FOUND
 *         if containerd, its shim or runc is not installed; CTRD_E_FAILED_PRECONDITION if another daemon
 *         runs in the directory, or containerd ended before it was ready; CTRD_E_PERMISSION_DENIED also
 *         if the binary cannot be executed.
 *
 * Blocking: until the daemon is ready. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_daemon_start(
    const ctrd_daemon_config_t *config, const ctrd_call_t *call, ctrd_daemon_t **out,
    ctrd_error_t **err);

/**
 * Takes the daemon out of the completion of a submitted ctrd_daemon_start(). It works once, with any
 * handle of the message.
 *
 * @param message  the message.
 * @param out      receives the daemon, which the caller owns: ctrd_daemon_free().
 * @param err      receives the error, or NULL.
 * @return CTRD_OK; CTRD_E_FAILED_PRECONDITION if the message holds no such result, or it was taken
 *         before.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_message_take_daemon(
    ctrd_message_t *message, ctrd_daemon_t **out, ctrd_error_t **err);

/**
 * The address of a private containerd's socket, for ctrd_client_config_t.
 *
 * @param daemon  the daemon; NULL gives "".
 * @return the text, borrowed from the daemon.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
const char *ctrd_daemon_address(const ctrd_daemon_t *daemon);

/**
 * The process id of a private containerd. Each restart changes it.
 *
 * @param daemon  the daemon; NULL gives 0.
 * @return the id; 0 while none runs, and in a child of the process that started it.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
uint32_t ctrd_daemon_pid(const ctrd_daemon_t *daemon);

/**
 * How often a private containerd that had died was started again, failed attempts included. If the
 * number keeps growing, containerd does not come up; the log hook receives the cause.
 *
 * @param daemon  the daemon; NULL gives 0.
 * @return the number; 0 in a child of the process that started it.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
uint64_t ctrd_daemon_restarts(const ctrd_daemon_t *daemon);

/**
 * Stops a private containerd: its containers are killed and deleted, then containerd is ended, and its
 * directory is removed with everything in it, except files that are not its own. All this is done too if
 * containerd is dead. A second stop does nothing; after a failure, another call continues, and meanwhile
 * containerd is not started again. The handle stays valid until ctrd_daemon_free().
 *
 * The call's timeout and cancel handle end the wait for processes; a process that was killed and does
 * not end is waited for up to 5 s more. Removing the files takes as long as it takes.
 *
 * @param daemon  the daemon.
 * @param call    limits of the call; NULL: the defaults (at most 60 s until the files are removed).
 * @param err     receives the error, or NULL.
 * @return CTRD_OK, or an error.
 *
 * Blocking: until it has ended and its files are removed. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_daemon_stop(
    ctrd_daemon_t *daemon, const ctrd_call_t *call, ctrd_error_t **err);

/**
 * Frees a private containerd, and stops it if that has not been done. One with CTRD_DAEMON_OUTLIVE that
 * no call has begun to stop keeps running, unsupervised. In a child of the process that started it,
 * nothing is stopped.
 *
 * @param daemon  the daemon; NULL does nothing.
 *
 * Blocking: like ctrd_daemon_stop() with the defaults; at most 5 s if containerd keeps running.
 * Threads: owner. Since: 0.1.
 */
void ctrd_daemon_free(ctrd_daemon_t *daemon);

/* Log ---------------------------------------------------------------------------------------------
 *
 * The library never prints. Its log messages go to a hook, if the program sets one.
 */

/** Nothing is logged. */
#define CTRD_LOG_OFF 0
/** Something happened that should not happen. */
#define CTRD_LOG_ERROR 1
/** Something may do harm. */
#define CTRD_LOG_WARN 2

/**
 * A client is opened or closed, a private containerd is started or stopped, a container is created,
 * destroyed or recovered, an image is pulled or removed.
 */
#define CTRD_LOG_INFO 3

/**
 * The end of every operation, with its error if it has failed; and further steps of the library.
 */
#define CTRD_LOG_DEBUG 4
/** Every request to containerd. */
#define CTRD_LOG_TRACE 5

/**
 * Receives what the library logs.
 *
 * It runs on the thread that logs, which may be one of the library's, and several threads may run it at
 * once. It must return soon. Functions of this library that can fail answer CTRD_E_REENTRANT inside it.
 * Both texts are borrowed for the time of the call.
 *
 * @param userdata  the pointer that ctrd_set_log_hook() was given.
 * @param level     CTRD_LOG_ERROR to CTRD_LOG_TRACE.
 * @param target    the part of the library that logs.
 * @param message   one line, without a newline at its end.
 */
typedef void (*ctrd_log_fn)(
    void *userdata, uint32_t level, const char *target, const char *message);

/**
 * Sets the hook that receives what the library logs, for the whole process. It replaces the hook that
 * was set before. Without a hook nothing is logged.
 *
 * A daemon may set it before it forks, as long as it opens its client afterwards: the hook then works in
 * the child too. In a child of a process that has used the library, nothing is logged.
 *
 * @param level     how much to log: CTRD_LOG_ERROR to CTRD_LOG_TRACE, each with everything that is more
 *                  severe; CTRD_LOG_OFF removes the hook.
 * @param hook      the hook; NULL removes the hook that is set.
 * @param userdata  handed to the hook.
 * @param destroy   called exactly once with userdata, when the hook was replaced or removed and no
 *                  thread runs it any more, or when this function fails. May be NULL. A child does not
 *                  call it for a hook that was set before the fork and ran then.
 * @param err       receives the error, or NULL.
 * @return CTRD_OK; CTRD_E_ALREADY_EXISTS if the program is written in Rust and has set a logger of its
 *         own.
 *
 * Blocking: no. Threads: any. Since: 0.1.
 */
CTRD_CHECK ctrd_status_t ctrd_set_log_hook(
    uint32_t level, ctrd_log_fn hook, void *userdata, ctrd_destroy_fn destroy, ctrd_error_t **err);

#ifdef __cplusplus
}
#endif

#endif /* CTRD_H */
