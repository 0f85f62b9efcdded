// Runs the chunks of one op on the backend's threads; which thread runs a chunk changes no bit.
// Threads: call from one thread at a time; several teams may run in one process.
#pragma once

#include <immintrin.h>
#include <omp.h>

#include <cstdint>
#include <exception>

#include "model/cpu/ceil_div.h"

namespace seamwright::model::cpu {

// Results below the normal range become zero, in every thread alike; restored at the end.
class FlushDenormals {
 public:
  FlushDenormals() : saved_(_mm_getcsr()) { _mm_setcsr(saved_ | kFlushToZero | kDenormalsAreZero); }
  ~FlushDenormals() { _mm_setcsr(saved_); }
  FlushDenormals(const FlushDenormals&) = delete;
  FlushDenormals& operator=(const FlushDenormals&) = delete;

 private:
  static constexpr unsigned kFlushToZero = 0x8000, kDenormalsAreZero = 0x0040;
  unsigned saved_;
};

// body(chunk, worker) for every chunk in [0, chunks); worker < threads. The first exception is
// thrown again here after all chunks are done.
template <class Body>
void parallel_for(int threads, std::int64_t chunks, const Body& body) {
  // One chunk stays here; any other count uses the whole team, because the OpenMP runtime ends
  // and restarts threads when the size of a team changes.
  const int team = chunks > 1 ? threads : 1;
  std::exception_ptr failure;
#pragma omp parallel num_threads(team)
  {
    // oneDNN sizes its work by this thread's setting: inside a chunk it must stay on one thread.
    // The setting belongs to this region's implicit task and ends with it.
    omp_set_num_threads(1);
    const FlushDenormals guard;
    const int worker = omp_get_thread_num();
#pragma omp for schedule(dynamic, 1) nowait
    for (std::int64_t chunk = 0; chunk < chunks; ++chunk) {
      try {
        body(chunk, worker);
      } catch (...) {
#pragma omp critical(seamwright_model_cpu_failure)
        if (!failure) failure = std::current_exception();
      }
    }
  }
  if (failure) std::rethrow_exception(failure);
}

// [0, size) in runs of `step`: body(begin, end, worker).
template <class Body>
void parallel_runs(int threads, std::int64_t size, std::int64_t step, const Body& body) {
  parallel_for(threads, ceil_div(size, step), [&](std::int64_t chunk, int worker) {
    const std::int64_t begin = chunk * step;
    body(begin, begin + step < size ? begin + step : size, worker);
  });
}

}  // namespace seamwright::model::cpu
