#include "worker/cost_measurement.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <numeric>
#include <thread>
#include <utility>

#include "base/error.h"
#include "model/arena.h"
#include "scheduling/placement.h"
#include "worker/failpoint.h"

namespace seamwright::worker {
namespace {

using Clock = std::chrono::steady_clock;
using Json = nlohmann::json;
using Seconds = std::chrono::duration<double>;

// A group with less to do, as counted for a processor of gang_plan.cpp's shape, is not worth
// asking.
constexpr double kWorthSeconds = 20;
constexpr double kShare = 0.02;     // of a job
constexpr double kMostSeconds = 3;  // whatever its length
constexpr int kRuns = 3;            // the least of them counts: noise only ever adds
// On a device, where the first forward makes plans that the job needs anyway.
constexpr std::int64_t kDeviceForwards = 150;

double total(const std::vector<double>& seconds) {
  return std::accumulate(seconds.begin(), seconds.end(), 0.0);
}

std::int64_t micro_batch_frames(const Job& job) {
  return std::min<std::int64_t>(job.request.window, job.request.frames);
}

double forwards_of_group(const Job& job, const GangPlan& plan) {
  return static_cast<double>(job.evaluations()) / plan.layout.groups;
}

// This rank's visits of one micro-batch of zeros, a number of frames long: seconds of each.
class VisitClock {
 public:
  VisitClock(int rank, const Job& job, const GangPlan& plan, const model::Denoiser& denoiser,
             model::Backend& backend, double slowdown)
      : job_(job),
        plan_(plan),
        denoiser_(denoiser),
        backend_(backend),
        stage_(rank % plan.layout.stages),
        slowdown_(slowdown) {}

  std::vector<double> run(std::int64_t frames) {
    model::Arena apart(backend_.memory());  // nothing stays behind
    model::Exec exec{backend_, apart};
    model::Tensor prompt(model::heap(), model::DType::kF32, plan_.prompt);
    std::fill_n(prompt.view().as<float>(), plan_.prompt.elements(), 0.0F);
    model::PromptContext context(std::move(prompt));
    model::Activations kept;
    std::vector<double> seconds;
    for (int v = 0; v < plan_.layout.visits(); ++v) {
      if (plan_.layout.stage_of_visit(v) != stage_) continue;
      const Visit& visit = plan_.visits.at(static_cast<std::size_t>(v));
      auto activations = inputs_of(v, frames, std::exchange(kept, {}));
      backend_.synchronize();
      const auto begin = Clock::now();
      denoiser_.run(exec, visit.blocks.first, visit.blocks.last,
                    {.timestep = 500,
                     .context = &context,
                     .height = job_.latent.height,
                     .width = job_.latent.width},
                    activations);
      backend_.synchronize();
      const Seconds took = Clock::now() - begin;
      if (slowdown_ > 1) std::this_thread::sleep_for(took * (slowdown_ - 1));
      seconds.push_back(Seconds(Clock::now() - begin).count());
      for (const auto& name : visit.keeps) kept.put(name, activations.take(name));
    }
    return seconds;
  }

 private:
  model::Tensor zeros(model::DType dtype, const model::Shape& shape) {
    model::Tensor tensor(backend_.memory(), dtype, shape);
    backend_.copy_in(std::vector<std::byte>(tensor.view().bytes()), tensor);
    return tensor;
  }

  model::Shape shape_for(const model::Shape& whole, std::int64_t frames) const {
    std::vector<std::int64_t> dims;
    for (int i = 0; i < whole.rank(); ++i) dims.push_back(whole[i]);
    ensure(dims.front() == micro_batch_frames(job_), "{} crosses a cut", whole.to_string());
    dims.front() = frames;
    return model::Shape(std::span<const std::int64_t>(dims));
  }

  model::Activations inputs_of(int visit, std::int64_t frames, model::Activations kept) {
    const auto& s = job_.latent;
    if (visit == 0) {
      kept.put("sample",
               zeros(backend_.activation_type(), {frames, s.height, s.width, s.channels}));
      return kept;
    }
    for (const auto& tensor : plan_.cuts.at(static_cast<std::size_t>(visit - 1))) {
      kept.put(tensor.name, zeros(tensor.dtype, shape_for(tensor.shape, frames)));
    }
    return kept;
  }

  const Job& job_;
  const GangPlan& plan_;
  const model::Denoiser& denoiser_;
  model::Backend& backend_;
  int stage_;
  double slowdown_;
};

// The least of several runs, visit by visit, all ranks at the same time.
std::vector<double> least_of(VisitClock& clock, std::int64_t frames, int runs,
                             comm::Fabric& fabric) {
  std::vector<double> least;
  fabric.barrier();
  for (int i = 0; i < runs; ++i) {
    const auto seconds = clock.run(frames);
    if (least.empty()) least = seconds;
    for (std::size_t v = 0; v < seconds.size(); ++v) least[v] = std::min(least[v], seconds[v]);
  }
  return least;
}

// Seconds of a whole micro-batch on every rank.
scheduling::MeasuredVisits measure(const GenerateOptions& options, const Job& job,
                                   const model::Denoiser& denoiser, model::Backend& backend,
                                   const GangPlan& plan, comm::Fabric& fabric) {
  const int rank = fabric.rank();
  VisitClock clock(rank, job, plan, denoiser, backend,
                   Failpoints::slowdown(options.failpoint, rank));
  const auto whole = micro_batch_frames(job);
  if (backend.stream_behind_work() != nullptr) {  // one shape, since each has to be prepared
    clock.run(whole);
    return gather_visits(least_of(clock, whole, kRuns, fabric), fabric);
  }
  clock.run(1);
  auto first = gather_visits(least_of(clock, 1, kRuns, fabric), fabric);
  double slowest = 0;
  for (auto& seconds : first) {
    for (double& s : seconds) s *= static_cast<double>(whole);
    slowest = std::max(slowest, total(seconds));
  }
  const double may_take = std::min(kMostSeconds, kShare * slowest * forwards_of_group(job, plan));
  if (whole == 1 || slowest * (kRuns + 1) > may_take) return first;
  clock.run(whole);
  return gather_visits(least_of(clock, whole, kRuns, fabric), fabric);
}

// What rank 0 remembers of an earlier job; empty where it does not.
scheduling::MeasuredVisits told_by_first(const GenerateOptions& options, const std::string& key,
                                         comm::Fabric& fabric) {
  std::string known;
  if (options.models && fabric.rank() == 0) known = options.models->note_of(key);
  const auto raw = std::as_bytes(std::span(known));
  comm::Bytes said(raw.begin(), raw.end());
  fabric.broadcast(0, said);
  if (said.empty()) return {};
  const auto* text = reinterpret_cast<const char*>(said.data());
  return Json::parse(text, text + said.size()).get<scheduling::MeasuredVisits>();
}

}  // namespace

scheduling::MeasuredVisits gather_visits(const std::vector<double>& own, comm::Fabric& fabric) {
  const auto text = Json(own).dump();
  scheduling::MeasuredVisits all;
  for (const auto& bytes : fabric.all_gather(std::as_bytes(std::span(text)))) {
    const auto* begin = reinterpret_cast<const char*>(bytes.data());
    all.push_back(Json::parse(begin, begin + bytes.size()).get<std::vector<double>>());
  }
  return all;
}

std::string reason_to_count(const std::string& wish, const Job& job, const GangPlan& plan) {
  if (wish == "counted") return "counted, as asked";
  if (plan.layout.groups == 1) return "counted: one group has every window, whatever its speed";
  if (wish == "measured") return "";
  const double work = total(plan.costs.visit_s) * forwards_of_group(job, plan);
  if (work < kWorthSeconds) {
    return fmt::format(
        "counted: a group's share is short (counted as {:.1f} s, {:.0f} are worth "
        "measuring)",
        work, kWorthSeconds);
  }
  return "";
}

void settle_costs(const GenerateOptions& options, const Job& job, const model::Denoiser& denoiser,
                  model::Backend& backend, const std::string& key, GangPlan& plan,
                  comm::Fabric* fabric) {
  plan.costs_reason = reason_to_count(options.costs, job, plan);
  if (plan.costs_reason.empty() && options.costs == "auto" &&
      backend.stream_behind_work() != nullptr &&
      forwards_of_group(job, plan) < static_cast<double>(kDeviceForwards)) {
    plan.costs_reason = fmt::format("counted: {:.0f} forwards a group, {} are worth measuring",
                                    forwards_of_group(job, plan), kDeviceForwards);
  }
  if (!plan.costs_reason.empty() || fabric == nullptr) return;
  plan.measured = true;
  plan.measured_s = told_by_first(options, key, *fabric);
  plan.costs_reason = "measured before an earlier job of this gang";
  if (plan.measured_s.empty()) {
    plan.measured_s = measure(options, job, denoiser, backend, plan, *fabric);
    plan.costs_reason = "measured before this job";
    if (options.models) options.models->set_note(key, Json(plan.measured_s).dump());
  }
  scheduling::apply_measured(plan.measured_s, plan.layout, plan.costs);
  if (plan.costs.rank_speed.empty()) {
    plan.costs_reason += fmt::format(": all ranks within {:.0f} %, windows are shared out evenly",
                                     100 * scheduling::kEqualSpeed);
    return;
  }
  const auto speeds = scheduling::group_speeds(plan.layout, plan.costs);
  const auto [slowest, fastest] = std::minmax_element(speeds.begin(), speeds.end());
  plan.costs_reason += fmt::format(
      ": groups run at {:.2f} to {:.2f} of the fastest rank, windows are shared out by that",
      *slowest, *fastest);
}

Json costs_report(const GangPlan& plan) {
  Json report{{"source", plan.measured ? "measured" : "counted"},
              {"reason", plan.costs_reason},
              {"visit_seconds", plan.costs.visit_s},
              {"decode_frame_seconds", plan.costs.decode_frame_s}};
  if (!plan.measured) return report;
  report["measured_seconds"] = plan.measured_s;
  report["group_speeds"] = scheduling::group_speeds(plan.layout, plan.costs);
  return report;
}

}  // namespace seamwright::worker
