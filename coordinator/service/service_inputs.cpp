// Files that jobs start from: kept with the job under names of the service's own, looked at before
// the job is accepted, and handed to gangs piece by piece.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>

#include "base/error.h"
#include "coordinator/service/service_impl.h"
#include "media/file_descriptor.h"
#include "media/files.h"

namespace seamwright::coordinator {
namespace {

constexpr std::size_t kPieceBytes = std::size_t{4} << 20U;

std::string name_of(const Artifact& input) {
  return nlohmann::json::parse(input.detail).at("name").get<std::string>();
}

const Artifact* find_input(const std::vector<Artifact>& inputs, const std::string& name) {
  const auto found = std::find_if(inputs.begin(), inputs.end(),
                                  [&](const Artifact& one) { return name_of(one) == name; });
  return found == inputs.end() ? nullptr : &*found;
}

void replace_all(std::string& text, const std::string& from, const std::string& to) {
  for (auto at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
}

}  // namespace

std::int64_t ServiceImpl::input_bytes() const {
  const std::lock_guard lock(artifacts_mutex_);
  std::int64_t bytes = 0;
  for (const auto& [job, list] : artifacts_) {
    for (const auto& one : list) bytes += one.kind == "input" ? one.bytes : 0;
  }
  return bytes;
}

// Puts one file into the folder: an upload, the video of another job, or a file of the job that
// this one is remixed from.
void ServiceImpl::store_input(const Submission& submission, const std::string& name,
                              const std::string& file) const {
  const auto given = std::find_if(submission.files.begin(), submission.files.end(),
                                  [&](const GivenFile& one) { return one.name == name; });
  if (given != submission.files.end() && given->bytes) {
    const std::string& bytes = *given->bytes;
    return folder_.write_durably(file, std::as_bytes(std::span(bytes.data(), bytes.size())),
                                 "input");
  }
  if (submission.remixed_from) {
    const auto theirs = artifacts_of(*submission.remixed_from, "input");
    if (const auto* one = find_input(theirs, name)) {
      return folder_.link_durably(folder_.file(one->file), file);
    }
  }
  if (given != submission.files.end()) {
    return folder_.link_durably(video_file(name, submission.owner), file);
  }
  throw ApiError(410, "invalid_request_error", "input_expired", "",
                 "the files that this job started from are no longer kept: send them again");
}

ServiceImpl::ArtifactList ServiceImpl::take_inputs(const std::string& id,
                                                   const Submission& submission) const {
  JobRequest request = submission.request;
  ArtifactList inputs;
  if (given_files(request).empty()) return inputs;
  if (input_bytes() >= options_.input_bytes_max) {
    ApiError full(429, "rate_limit_error", "inputs_full", "",
                  fmt::format("the files of earlier jobs fill the {} bytes there are for them: "
                              "delete jobs, or try again later",
                              options_.input_bytes_max));
    full.retry_after_s = 60;
    throw full;
  }
  try {
    for (const auto* name : given_files(request)) {
      if (find_input(inputs, *name) != nullptr) continue;
      const auto number = static_cast<std::int64_t>(inputs.size());
      Artifact input{id,      0,
                     "input", number,
                     number,  fmt::format("inputs/{}-{}", id, number),
                     0,       Json{{"name", *name}}.dump()};
      store_input(submission, *name, input.file);
      input.bytes = static_cast<std::int64_t>(std::filesystem::file_size(folder_.file(input.file)));
      inputs.push_back(std::move(input));
    }
  } catch (const Error& error) {
    drop_inputs(inputs);
    throw store_refusal(error);
  } catch (...) {
    drop_inputs(inputs);
    throw;
  }
  return inputs;
}

void ServiceImpl::drop_inputs(const ArtifactList& inputs) const {
  for (const auto& input : inputs) folder_.remove_file(input.file);
}

// The request with every default filled in. Its files are looked at where they lie; what is said
// about them names them as the client did.
JobRequest ServiceImpl::checked(const Submission& submission, JobRequest request,
                                const ArtifactList& inputs) const {
  std::vector<std::pair<std::string, std::string>> names;  // path, name
  for (auto* file : given_files(request)) {
    const auto path = folder_.file(find_input(inputs, *file)->file).string();
    names.emplace_back(path, *file);
    *file = path;
  }
  try {
    if (!submission.as_long_as_input) validate(request);
    if (options_.check) request = options_.check(request, submission.as_long_as_input);
  } catch (const Error& error) {
    std::string message = error.what();
    for (const auto& [path, name] : names) replace_all(message, path, "the given file");
    throw Error(error.code(), message, error.where());
  }
  for (auto* file : given_files(request)) {
    for (const auto& [path, name] : names) {
      if (*file == path) {
        *file = name;
        break;
      }
    }
  }
  return request;
}

nlohmann::json ServiceImpl::inputs_of(const std::string& job) const {
  auto list = Json::array();
  for (const auto& input : artifacts_of(job, "input")) {
    list.push_back({{"name", name_of(input)}, {"bytes", input.bytes}});
  }
  return list;
}

void ServiceImpl::on_fetch_file(Ledger& ledger, const Gang& gang, const Json& header) {
  const auto name = header.at("file").get<std::string>();
  const auto offset = header.at("offset").get<std::int64_t>();
  ledger.after([this, client = *gang.client, id = gang.job, attempt = gang.attempt, name, offset] {
    post_side([this, client, id, attempt, name, offset] {
      Json about = {{"file", name}, {"offset", offset}};
      const auto inputs = artifacts_of(id, "input");
      const auto* input = find_input(inputs, name);
      comm::Bytes piece(kPieceBytes);
      ssize_t got = -1;
      if (input != nullptr) {
        const media::FileDescriptor file(
            ::open(folder_.file(input->file).c_str(), O_RDONLY | O_CLOEXEC));
        if (file) got = ::pread(file.get(), piece.data(), piece.size(), offset);
      }
      if (got < 0) {
        about["code"] = "input_missing";
        about["message"] = "a file that the job starts from cannot be read";
        return answer(client, "attempt.refused", id, attempt, std::move(about));
      }
      piece.resize(static_cast<std::size_t>(got));
      answer(client, "attempt.file", id, attempt, std::move(about), std::move(piece));
    });
  });
}

}  // namespace seamwright::coordinator
