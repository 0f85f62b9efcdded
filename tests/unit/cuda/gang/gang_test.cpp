// Gangs on doubles of GPUs: activations go from device to device over the double of NCCL, and any
// layout still gives the bits of one rank. Proves our side of the contract only.
#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <mutex>
#include <thread>

#include "base/sha256.h"
#include "comm/loopback/loopback.h"
#include "model/cuda/backend.h"
#include "tests/unit/comm/fake_nccl.h"
#include "tests/unit/cuda/fake_cuda.h"
#include "worker/gang_fabric.h"
#include "worker/generate.h"

// What a build without CUDA says it lacks, over the double.
namespace seamwright::model {
namespace {

using cuda::testing_support::FakeCuda;

struct Doubles {
  std::mutex mutex;
  std::vector<std::weak_ptr<FakeCuda>> all;
  bool keep = false;
  std::vector<std::shared_ptr<FakeCuda>> kept;
} doubles;

}  // namespace

bool cuda_built_in() { return true; }
std::string cuda_versions() { return "double"; }
std::vector<CudaDevice> cuda_devices() {
  std::vector<CudaDevice> devices(4);
  for (std::size_t i = 0; i < devices.size(); ++i) {
    devices[i].name = "double";
    devices[i].pci_address = fmt::format("0000:0{}:00.0", i);
  }
  return devices;
}
std::unique_ptr<Backend> make_cuda_backend(const CudaOptions& options) {
  auto calls = std::make_shared<FakeCuda>();
  const std::lock_guard lock(doubles.mutex);
  doubles.all.push_back(calls);
  if (doubles.keep) doubles.kept.push_back(calls);
  return std::make_unique<cuda::CudaBackend>(calls, options);
}

}  // namespace seamwright::model

namespace seamwright::worker {
namespace {

using comm::conformance::FakeNcclWorld;

bool on_a_device(const void* data) {
  const std::lock_guard lock(model::doubles.mutex);
  for (const auto& one : model::doubles.all) {
    if (const auto calls = one.lock(); calls && calls->is_device(data)) return true;
  }
  return false;
}

GenerateOptions options_for(const scheduling::Layout& layout, const std::string& precision) {
  GenerateOptions o;
  o.model_folder = SEAMWRIGHT_FIXTURES "/checkpoints/unet2d_adapter_v3";
  auto& r = o.request;
  r.prompt = "a cat on a hill";
  r.frames = 6;
  r.window = 4;
  r.overlap = 2;
  r.width = r.height = 32;
  r.steps = 2;
  r.guidance = 4;
  r.seed = 11;
  r.device = "cuda";
  r.precision = precision;
  o.layout = layout;
  o.threads = 1;
  return o;
}

std::string alone(const std::string& precision) {
  static std::map<std::string, std::string> known;
  auto [at, added] = known.try_emplace(precision);
  if (added) at->second = generate(options_for({}, precision), {}).report.at("latents_sha256");
  return at->second;
}

// Ranks as threads, each with a double of a GPU of its own.
class Gang {
 public:
  explicit Gang(int size, std::size_t devices = 4)
      : size_(size),
        devices_(devices),
        host_(std::make_shared<comm::LoopbackGang>(size)),
        world_(std::make_shared<FakeNcclWorld>(size)) {
    world_->reaches = &on_a_device;
  }

  // One job after another over the same fabric, as a gang of a service runs them.
  std::vector<GenerateResult> run(const std::vector<GenerateOptions>& jobs,
                                  comm::TransportWish wish = comm::TransportWish::kAuto,
                                  const std::function<void()>& progress = {}) {
    std::vector<GenerateResult> results(jobs.size());
    const auto member = [&](int rank) {
      const std::shared_ptr<comm::Fabric> control(host_, &host_->fabric(rank));
      try {
        GangFabricOptions options;
        options.wish = wish;
        options.devices = [this] {
          auto devices = model::cuda_devices();
          devices.resize(devices_);
          return devices;
        };
        options.nccl = [] { return std::string("2.28.3"); };
        options.nccl_calls = [&](int device) {
          EXPECT_EQ(device, rank);
          return world_->calls(rank);
        };
        const auto gang = connect_gang(control, options);
        if (rank == 0) note_ = gang.note;
        for (std::size_t i = 0; i < jobs.size(); ++i) {
          auto job = jobs[i];
          job.rank_on_host = gang.rank_on_host;
          run_one(job, rank, *gang.fabric, progress, results[i]);
        }
        gang.fabric->close();
      } catch (const std::exception& error) {
        ADD_FAILURE() << "rank " << rank << ": " << error.what();
        control->abort(error.what());
      }
    };
    std::vector<std::thread> threads;
    for (int rank = 0; rank < size_; ++rank) threads.emplace_back(member, rank);
    for (auto& thread : threads) thread.join();
    for (const auto& broken : world_->violations()) ADD_FAILURE() << "NCCL rule: " << broken;
    return results;
  }
  std::string hash(const GenerateOptions& job, comm::TransportWish wish) {
    const auto result = run({job}, wish).front();
    return result.complete ? result.report.at("latents_sha256").get<std::string>() : "not complete";
  }
  std::int64_t transfers() { return world_->transfers(); }
  const std::string& note() const { return note_; }

 private:
  static void run_one(const GenerateOptions& job, int rank, comm::Fabric& fabric,
                      const std::function<void()>& progress, GenerateResult& result) {
    GenerateHooks hooks;
    if (rank == 0 && progress) hooks.progress = [&](const Progress&) { progress(); };
    try {
      auto own = generate_as_rank(job, hooks, rank, &fabric);
      if (rank == 0) result = std::move(own);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kCancelled || fabric.aborted()) throw;
    }
  }

  const int size_;
  const std::size_t devices_;
  std::shared_ptr<comm::LoopbackGang> host_;
  std::shared_ptr<FakeNcclWorld> world_;
  std::string note_;
};

TEST(GpuGang, StagesExchangeActivationsOverNcclWithTheBitsOfOneRank) {
  const auto expected = alone("fp32");
  for (const scheduling::Layout& layout :
       {scheduling::Layout{1, 2, false}, scheduling::Layout{1, 3, true},
        scheduling::Layout{2, 2, false}}) {
    Gang gang(layout.ranks());
    EXPECT_EQ(gang.hash(options_for(layout, "fp32"), comm::TransportWish::kNccl), expected)
        << scheduling::to_string(layout);
    EXPECT_GT(gang.transfers(), 0) << scheduling::to_string(layout);
    EXPECT_NE(gang.note().find("over NCCL 2.28.3"), std::string::npos) << gang.note();
  }
}

TEST(GpuGang, GivesTheSameBitsInBf16AndThroughHostMemory) {
  const auto expected = alone("bf16");
  const auto job = options_for({1, 2, false}, "bf16");
  Gang over_nccl(2);
  EXPECT_EQ(over_nccl.hash(job, comm::TransportWish::kAuto), expected);
  EXPECT_GT(over_nccl.transfers(), 0);
  Gang through_host(2);
  EXPECT_EQ(through_host.hash(job, comm::TransportWish::kHost), expected);
  EXPECT_EQ(through_host.transfers(), 0);
  EXPECT_NE(through_host.note().find("host memory"), std::string::npos) << through_host.note();
}

// Predictions lie in host memory, so that groups of one stage need no NCCL.
TEST(GpuGang, GroupsExchangePredictionsThroughHostMemory) {
  Gang gang(2);
  EXPECT_EQ(gang.hash(options_for({2, 1, false}, "fp32"), comm::TransportWish::kAuto),
            alone("fp32"));
  EXPECT_EQ(gang.transfers(), 0);
}

TEST(GpuGang, RanksThatShareAGpuExchangeThroughHostMemory) {
  Gang gang(2, 1);
  EXPECT_EQ(gang.hash(options_for({1, 2, false}, "fp32"), comm::TransportWish::kAuto),
            alone("fp32"));
  EXPECT_EQ(gang.transfers(), 0);
  EXPECT_NE(gang.note().find("share GPU"), std::string::npos) << gang.note();
}

TEST(GpuGang, SaysWhyNcclIsNotPossible) {
  comm::LoopbackGang host(2);
  const auto member = [&](int rank) {
    const std::shared_ptr<comm::Fabric> control(&host.fabric(rank), [](comm::Fabric*) {});
    GangFabricOptions options;
    options.wish = comm::TransportWish::kNccl;
    options.devices = [] { return std::vector<model::CudaDevice>(); };
    options.nccl = [] { return std::string("2.28.3"); };
    try {
      connect_gang(control, options);
      ADD_FAILURE() << "rank " << rank << " connected";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kUnsupported);
      EXPECT_NE(std::string(error.what()).find("rank 0 computes on a processor"), std::string::npos)
          << error.what();
    }
  };
  std::thread other(member, 1);
  member(0);
  other.join();
}

// A job that is stopped leaves no message between devices behind: the next one has its bits.
TEST(GpuGang, AStoppedJobLeavesTheDevicesReadyForTheNext) {
  std::atomic<bool> stop{false};
  std::atomic<int> seen{0};
  auto stopped = options_for({1, 3, false}, "fp32"), next = stopped;
  stopped.stop = &stop;
  next.run = stopped.run + 1;
  Gang gang(3);
  const auto results = gang.run({stopped, next}, comm::TransportWish::kNccl, [&] {
    if (++seen == 2) stop = true;
  });
  EXPECT_FALSE(results[0].complete);
  EXPECT_TRUE(results[1].complete);
  EXPECT_EQ(results[1].report.value("latents_sha256", ""), alone("fp32"));
}

// The pixels of a job as SHA-256, in frame order.
std::string pixels_of(const GenerateOptions& job) {
  Sha256 hash;
  std::int64_t next = 0;
  GenerateHooks hooks;
  hooks.frames = [&](const DecodedChunk& chunk) {
    EXPECT_EQ(chunk.first_frame, next);
    next += chunk.count;
    hash.update(std::as_bytes(chunk.pixels));
  };
  EXPECT_TRUE(generate(job, hooks).complete);
  EXPECT_EQ(next, job.request.frames);
  return to_hex(hash.finish());
}

// Pixels arrive beside later tasks, at rank 0 and, where others decode, through messages; the
// double gives them to nobody who did not wait.
TEST(GpuGang, PixelsAreTheSameWhoeverDecodesThem) {
  auto job = options_for({}, "fp32");
  job.request.steps = 1;
  job.request.guidance = 1;
  const auto expected = pixels_of(job);
  job.layout = {2, 1, false};
  EXPECT_EQ(pixels_of(job), expected);
}

// After the rehearsal no rank meets a shape for the first time: not in the last, shorter chunk
// either, nor where a travelling prompt has keys for every frame.
TEST(GpuGang, EveryStageRehearsesAllShapesOfItsPart) {
  for (const bool travels : {false, true}) {
    for (const scheduling::Layout& layout :
         {scheduling::Layout{1, 1, false}, scheduling::Layout{1, 3, true}}) {
      if (travels && layout.stages > 1) continue;  // seconds for nothing new
      auto job = options_for(layout, "bf16");
      job.request.frames = 4;
      if (travels) job.request.prompt = "0: a cat on a hill / 3: a dog on a hill";
      model::doubles.keep = true;
      const auto result = generate(job, {});
      model::doubles.keep = false;
      EXPECT_TRUE(result.complete);
      const auto kept = std::exchange(model::doubles.kept, {});
      int rehearsed = 0, launches = 0;
      for (const auto& calls : kept) {
        rehearsed += calls->rehearsed();
        launches += calls->launches();
        for (const auto& shape : calls->unrehearsed()) {
          ADD_FAILURE() << scheduling::to_string(layout) << (travels ? ", travelling: " : ": ")
                        << shape;
        }
      }
      EXPECT_EQ(rehearsed, layout.ranks());
      if (travels)
        continue;  // each window has a prompt of its own, and so no graph that comes back
      // Every evaluation was a graph's, recorded before the clock started, where it ran once.
      constexpr int kBranches = 2;
      const auto evaluations = result.report.at("evaluations").get<double>();
      EXPECT_EQ(launches, (evaluations + kBranches) * layout.visits())
          << scheduling::to_string(layout);
    }
  }
}

}  // namespace
}  // namespace seamwright::worker
