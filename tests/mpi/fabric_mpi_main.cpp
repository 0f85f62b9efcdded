// The fabric suite as one rank of an MPI gang: mpirun -n N test_comm_mpi --gtest_filter=...
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdio>
#include <thread>

#include "comm/mpi/mpi_fabric.h"
#include "tests/unit/comm/fabric_cases.h"
#include "tests/unit/comm/fabric_conformance.h"

namespace seamwright::comm::conformance {
namespace {

// MPI starts once per process, so all cases of a process share one fabric.
std::unique_ptr<Fabric>& process_fabric() {
  static std::unique_ptr<Fabric> fabric;
  return fabric;
}

bool g_stop_instead = false;

class MpiTestGang final : public TestGang {
 public:
  void run(const RankBody& body) override {
    Fabric& fabric = *process_fabric();
    try {
      body(fabric);
    } catch (const std::exception& error) {
      ADD_FAILURE() << "rank " << fabric.rank() << ": " << error.what();
      fabric.abort("the test failed");
    }
  }

  void lose_me(Fabric&) override {
    if (!g_stop_instead) std::raise(SIGKILL);
    // Stopped, as by a debugger or a suspended machine; a child puts an end to it later.
    const pid_t victim = getpid();
    if (fork() == 0) {
      sleep(20);
      kill(victim, SIGKILL);
      _exit(0);
    }
    std::raise(SIGSTOP);
  }
};

const auto kMpi =
    testing::Values(Implementation{"Mpi", [] { return std::make_unique<MpiTestGang>(); }});
INSTANTIATE_TEST_SUITE_P(Mpi, FabricConformance, kMpi, implementation_name);
INSTANTIATE_TEST_SUITE_P(Mpi, FabricEnding, kMpi, implementation_name);

// A rank whose process ends early, for instance by an exception, must not leave the others waiting.
TEST(MpiEnding, LeavingWithoutCloseEndsTheGang) {
  std::unique_ptr<Fabric>& fabric = process_fabric();
  if (fabric->rank() == 1) {
    std::atomic<int> ready{1};
    fabric->set_mail_handler([&](int, Bytes) { ++ready; });
    while (ready < fabric->size()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    fabric.reset();
    return;
  }
  const Operation never = fabric->recv(1, allocate_buffer(8));
  fabric->post(1, Bytes(1));
  const Error error = error_of([&] { never.wait(); });
  EXPECT_NE(std::string(error.what()).find("left without closing"), std::string::npos)
      << error.what();
}

}  // namespace
}  // namespace seamwright::comm::conformance

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  seamwright::comm::MpiOptions options;
  for (int i = 1; i < argc; ++i) {
    if (std::string_view(argv[i]) == "--synchronous") options.synchronous_sends = true;
    if (std::string_view(argv[i]) == "--pieces") options.piece_bytes = 1'000'003;
    if (std::string_view(argv[i]) == "--stopped") {
      seamwright::comm::conformance::g_stop_instead = true;
    }
  }
  options.heartbeat_interval = std::chrono::milliseconds(250);
  options.silence_limit = std::chrono::milliseconds(3000);
  auto& fabric = seamwright::comm::conformance::process_fabric();
  fabric = seamwright::comm::connect_mpi(options);
  const int rank = fabric->rank();
  if (rank != 0) {
    // One report is enough; failures of the other ranks still print.
    auto& listeners = testing::UnitTest::GetInstance()->listeners();
    delete listeners.Release(listeners.default_result_printer());
    class FailuresOnly : public testing::EmptyTestEventListener {
      void OnTestPartResult(const testing::TestPartResult& part) override {
        if (part.failed()) {
          std::fprintf(stderr, "%s:%d: %s\n", part.file_name(), part.line_number(), part.message());
        }
      }
    };
    listeners.Append(new FailuresOnly);
  }
  int failures = RUN_ALL_TESTS();
  // A filter that matches nothing must not pass.
  if (testing::UnitTest::GetInstance()->test_to_run_count() == 0) failures = 1;
  try {
    if (failures == 0 && fabric && !fabric->aborted() && !fabric->closed()) fabric->close();
  } catch (const seamwright::Error& error) {
    std::fprintf(stderr, "rank %d: %s\n", rank, error.what());
    failures = 1;
  }
  fabric.reset();
  // For cases whose gang cannot end cleanly, so that mpirun's own exit code says nothing.
  std::printf("rank %d: %s\n", rank, failures == 0 ? "suite passed" : "SUITE FAILED");
  return failures;
}
