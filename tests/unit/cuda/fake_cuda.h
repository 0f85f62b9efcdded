// A double of the vendor calls: computes on the host, at once, and asserts the rules of CUDA that
// the backend must keep. It proves our side only.
// Threads: any; calls lock.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "model/cuda/calls.h"
#include "model/cuda/kernels/emulated.h"

namespace seamwright::model::cuda::testing_support {

class FakeCuda final : public CudaCalls {
 public:
  // Device memory left to hand out.
  std::size_t device_bytes_left = std::size_t{8} << 30;
  // Shapes for which the double, like the library, has no engine.
  bool convolves = true, attends = true;
  // Whether captures succeed; a driver ends one in which something ran that no graph can hold.
  bool captures = true;

  // Ends the process if device memory is left: whoever gave it out can no longer take it back.
  ~FakeCuda() override;

  std::string description() const override { return "double"; }
  void bind_thread() override {}

  void* allocate_device(std::size_t bytes) override;
  void free_device(void* data) noexcept override;
  std::byte* allocate_pinned(std::size_t bytes) override;
  void free_pinned(std::byte* data) noexcept override;

  Stream create_stream() override;
  void destroy_stream(Stream stream) noexcept override;
  void wait_for_stream(Stream stream) override;
  Event create_event() override;
  void destroy_event(Event event) noexcept override;
  void record(Event event, Stream stream) override;
  void make_wait(Stream stream, Event event) override;
  void wait_for_event(Event event) override;

  void to_device(const std::byte* host, void* device, std::size_t bytes, Stream stream) override;
  void to_host(const void* device, std::byte* host, std::size_t bytes, Stream stream) override;
  void on_device(const void* from, void* to, std::size_t bytes, Stream stream) override;

  void begin_capture(Stream stream) override;
  Graph end_capture(Stream stream) override;
  void abandon_capture(Stream stream) noexcept override;
  void launch(Graph graph, Stream stream) override;
  void destroy_graph(Graph graph) noexcept override;

  void multiply(const Product& product, const ProductOperands& operands, Stream stream) override;
  bool can_convolve(const Convolution& convolution) override;
  void convolve(const Convolution& convolution, const void* x, const void* w, void* y,
                Stream stream) override;
  bool can_attend(const Attention& attention) override;
  void attend(const Attention& attention, const AttentionOperands& operands,
              Stream stream) override;

  void plan_ahead(bool on) override;

  // From then on every wait fails, as after an error on the device.
  bool device_failed = false;

  // What tests look at.
  bool is_device(const void* data) const;
  std::size_t device_blocks() const { return device_.size(); }
  std::size_t pinned_blocks() const { return pinned_.size(); }
  std::size_t things_alive() const { return things_.size(); }
  std::int64_t products() const { return products_; }
  std::int64_t convolutions() const { return convolutions_; }
  std::int64_t attentions() const { return attentions_; }
  bool planning_ahead() const { return planning_ahead_; }
  int graphs_alive() const { return graphs_; }
  int launches() const { return launches_; }
  // Shapes that came for the first time after a rehearsal had
  // planned ahead: a job then waits for plans.
  const std::vector<std::string>& unrehearsed() const { return unrehearsed_; }
  bool rehearsed() const { return rehearsed_; }
  // Whether a copy from this pinned memory may still be under way, for all the host knows.
  bool may_be_read(const std::byte* pinned) const;

 private:
  struct Copy {
    const std::byte* host;
    std::size_t bytes;
    Stream stream;
    std::int64_t number;
    std::vector<std::byte> arriving;  // what a copy to `host` brings once it is waited for
  };
  Stream make_thing();
  void multiply_now(const Product& product, const ProductOperands& operands);
  void convolve_now(const Convolution& convolution, const void* x, const void* w, void* y);
  bool planning_ahead_ = false, rehearsed_ = false;
  void see(const std::string& shape);
  std::set<std::string> seen_;
  std::vector<std::string> unrehearsed_;
  void attend_now(const Attention& attention, const AttentionOperands& operands);
  void forget_up_to(Stream stream, std::int64_t number);
  bool is_pinned(const std::byte* host, std::size_t bytes) const;

  mutable std::mutex mutex_;
  std::map<void*, std::size_t> device_;
  std::map<std::byte*, std::size_t> pinned_;
  std::set<void*> things_;  // streams, events, graphs
  std::vector<std::unique_ptr<int>> owned_;
  std::vector<Copy> under_way_;
  std::map<Event, std::pair<Stream, std::int64_t>> recorded_;
  std::int64_t number_ = 0, products_ = 0, convolutions_ = 0, attentions_ = 0;
  std::unique_ptr<emulated::Recording> capturing_;
  int graphs_ = 0, launches_ = 0;
};

}  // namespace seamwright::model::cuda::testing_support
