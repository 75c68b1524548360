// The jobs of ../figures/job.rs, done with containerd's own Go client.
//
//	peer ADDRESS NAMESPACE IMAGE JOB COUNT
//
// job.rs describes the output.
package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/containerd/containerd"
	"github.com/containerd/containerd/cio"
	"github.com/containerd/containerd/namespaces"
	"github.com/containerd/containerd/oci"
	"golang.org/x/sys/unix"
)

// As in job.rs.
const (
	containers = 50
	pause      = 20 * time.Millisecond
	settle     = time.Second
)

func main() {
	address, namespace, reference, job := os.Args[1], os.Args[2], os.Args[3], os.Args[4]
	count := must(strconv.Atoi(os.Args[5]))
	client := must(containerd.New(address))
	context := namespaces.WithNamespace(context.Background(), namespace)
	switch job {
	case "version":
		timed(count, func() time.Duration {
			start := time.Now()
			must(client.Version(context))
			return time.Since(start)
		})
	case "lifecycle":
		image := must(client.GetImage(context, reference))
		timed(count, func() time.Duration {
			start := time.Now()
			container, task, exit := create(context, client, image, "/bin/true")
			<-exit
			destroy(context, container, task)
			return time.Since(start)
		})
	case "death":
		image := must(client.GetImage(context, reference))
		timed(count, func() time.Duration {
			container, task, exit := create(context, client, image, "/bin/sleep", "1000")
			killed := make(chan time.Time, 1)
			time.AfterFunc(pause, func() {
				killed <- time.Now()
				check(syscall.Kill(int(task.Pid()), syscall.SIGKILL))
			})
			<-exit
			told := time.Now()
			destroy(context, container, task)
			return told.Sub(<-killed)
		})
	case "waits":
		waits(context, client, must(client.GetImage(context, reference)), count)
	default:
		panic(job)
	}
}

// Prints the CPU time of one run, then the time of each run. The first run does not count, because
// its caches are cold.
func timed(count int, work func() time.Duration) {
	work()
	times := make([]time.Duration, count)
	before := cpu()
	for i := range times {
		times[i] = work()
	}
	fmt.Println((cpu() - before) / int64(count))
	for _, time := range times {
		fmt.Println(time.Nanoseconds())
	}
}

func create(
	context context.Context, client *containerd.Client, image containerd.Image, args ...string,
) (containerd.Container, containerd.Task, <-chan containerd.ExitStatus) {
	id := unique()
	container := must(client.NewContainer(context, id,
		containerd.WithImage(image),
		containerd.WithNewSnapshot(id, image),
		containerd.WithNewSpec(oci.WithImageConfig(image), oci.WithProcessArgs(args...))))
	task := must(container.NewTask(context, cio.NullIO))
	exit := must(task.Wait(context))
	check(task.Start(context))
	return container, task, exit
}

func destroy(context context.Context, container containerd.Container, task containerd.Task) {
	must(task.Delete(context))
	check(container.Delete(context, containerd.WithSnapshotCleanup))
}

func waits(context context.Context, client *containerd.Client, image containerd.Image, count int) {
	use()
	var all []containerd.Container
	var tasks []containerd.Task
	for i := 0; i < containers; i++ {
		container, task, _ := create(context, client, image, "/bin/sleep", "1000")
		all, tasks = append(all, container), append(tasks, task)
	}
	time.Sleep(settle)
	use()
	var exits []<-chan containerd.ExitStatus
	for i := 0; i < count; i++ {
		exits = append(exits, must(tasks[i%containers].Wait(context)))
	}
	time.Sleep(settle)
	use()
	for _, task := range tasks {
		check(task.Kill(context, syscall.SIGKILL))
	}
	for _, exit := range exits {
		<-exit
	}
	for i := range all {
		destroy(context, all[i], tasks[i])
	}
}

// Prints the threads of this process, and its memory in KiB: all of it, and the part that no file
// backs.
func use() {
	status := string(must(os.ReadFile("/proc/self/status")))
	for _, name := range []string{"Threads:", "VmRSS:", "RssAnon:"} {
		_, rest, _ := strings.Cut(status, "\n"+name)
		fmt.Println(strings.Fields(rest)[0])
	}
}

// The CPU time of this process, in nanoseconds.
func cpu() int64 {
	var now unix.Timespec
	check(unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &now))
	return now.Nano()
}

var made int

func unique() string {
	made++
	return fmt.Sprintf("peer-%d-%d", os.Getpid(), made)
}

func must[T any](value T, err error) T {
	check(err)
	return value
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
