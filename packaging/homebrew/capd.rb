# Homebrew's formula for capd, built from this checkout:
#
#   brew tap-new local/capd && cp packaging/homebrew/capd.rb "$(brew --repo local/capd)/Formula/"
#   HOMEBREW_CAPD=$PWD brew install --HEAD local/capd/capd
#   sudo brew services start capd
class Capd < Formula
  desc "Packet recorder that says what it lost"
  license "MIT"
  head ENV.fetch("HOMEBREW_CAPD", "file:///usr/local/src/capd"), using: :git, branch: "main"

  depends_on "go" => :build

  def install
    ENV["CGO_ENABLED"] = "0"
    system "go", "build", *std_go_args(ldflags: "-s -w"), "./cmd/capd"
    man8.install "packaging/man/capd.8"
    man5.install "packaging/man/capd.toml.5", "packaging/man/capd-ledger.5"
    (etc/"capd").install "packaging/launchd/capd.toml"
    inreplace etc/"capd/capd.toml", "/usr/local/var", var
    generate_completions_from_executable(bin/"capd", "completion")
  end

  def post_install
    (var/"capd").mkpath
    (var/"log/capd").mkpath
  end

  # As root, because the BPF devices belong to root. packaging/launchd has a service
  # with a separate account.
  service do
    run [opt_bin/"capd", "run", "-c", etc/"capd/capd.toml"]
    require_root true
    keep_alive true
    working_dir var/"capd"
    error_log_path var/"log/capd/capd.err"
  end

  test do
    assert_match "capd", shell_output("#{bin}/capd version")
  end
end
