(ns jepsen.quorate.db
  "Installs `quorated` and runs it: a directory and a pid file a node, so that namespaces of one machine can share a file system.

  Commands run as root, whom either remote logs in as: a machine without `sudo` will do."
  (:require [clojure.java.io :as io]
            [clojure.string :as str]
            [clojure.tools.logging :refer [info]]
            [jepsen.control :as c]
            [jepsen.control.util :as cu]
            [jepsen.core :as jepsen]
            [jepsen.db :as db]
            [jepsen.quorate.ctl :as ctl]
            [jepsen.quorate.fleet :as fleet]
            [jepsen.quorate.remote :as remote]
            [jepsen.quorate.world :as world]))

(defn dir [node] (str "/opt/quorate-jepsen/" node))
(defn pid-file [node] (str (dir node) "/pid"))
(defn log-file [node] (str (dir node) "/log"))
(defn member [test node] (str (fleet/number test node) "=" (world/site node) "@" (ctl/endpoint test node)))

(defn configuration [test node]
  (let [{:keys [ip witness nameserver controls]} @(:world test)
        home (dir node)
        address (ctl/endpoint test node)]
    (str "[node]\ncluster = '" world/cluster "'\nid = " (fleet/number test node) "\nsite = '" (world/site node) "'\ndata = '" home "/data'\n"
         "listen = '" address "'\nadvertise = '" address "'\nhttp = 'off'\n"
         "[tls]\nca = '" home "/ca.crt'\ncertificate = '" home "/node.crt'\nkey = '" home "/node.key'\n"
         "[timing]\nheartbeat = '200ms'\nelection = ['1s', '2s']\nreport = '500ms'\n"
         "[provider.main]\ntype = 'rfc2136'\nserver = '" ip ":" (:port witness) "'\nnameservers = ['" nameserver "']\n"
         "key = { name = '" world/key-name "', algorithm = 'hmac-sha256', secret_env = 'QUORATE_TSIG' }\n"
         (str/join (for [{:keys [port]} controls]
                     (str "[[control]]\nhttp = 'http://" ip ":" port "/health'\ninterval = '500ms'\ntimeout = '400ms'\n"))))))

(defn service-file [test service]
  (let [{:keys [ip regions]} @(:world test)
        {:keys [interval-ms timeout-ms fall rise cooldown-ms ttl-ms reconcile-ms]} world/policy]
    (str "name = '" service "'\n[[record]]\nprovider = 'main'\nzone = '" world/zone "'\nname = '" service "'\ntype = 'A'\nttl = 60\n"
         (str/join (for [[region value] (get world/services service)
                         :let [port (:port (get regions [service region]))]]
                     (str "[[region]]\nname = '" region "'\nvalues = { A = ['" value "'] }\nprobe = { http = 'http://" ip ":" port
                          "/health', interval = '" interval-ms "ms', timeout = '" timeout-ms "ms', json = { '/status' = 'UP' } }\n")))
         "[policy]\nfall = " fall "\nrise = " rise "\ncooldown = '" (if (= "reg" service) 1000 cooldown-ms) "ms'\nbudget = 100\n"
         "reconcile = '" reconcile-ms "ms'\nopinion_ttl = '" ttl-ms "ms'\n")))

(defn- quoratectl [test] (str (:binaries test) "/quoratectl"))

(defn- pki! [test]
  (let [pki (:pki test)
        run (fn [& words] (apply remote/sh! (quoratectl test) "pki" words))]
    (when-not (.exists (io/file pki "ca.crt"))
      (run "init" pki "--cluster" world/cluster "--days" "2")
      (run "issue" pki "--person" "jepsen" "--role" "admin" "--days" "2"))))

(defn- write-file! [text remote-path]
  (let [file (java.io.File/createTempFile "quorate" ".toml")]
    (spit file text)
    (c/upload (.getCanonicalPath file) remote-path)
    (.delete file)))

(defn start-node! [test node]
  (cu/start-daemon! {:logfile (log-file node) :pidfile (pid-file node) :chdir (dir node) :match-executable? false
                     :env (cond-> {:QUORATE_TSIG world/key-secret
                                   :RUST_LOG "warn,openraft=error,quorate=info,quorate::node::reporter=debug"}
                            (:sabotage test) (assoc :QUORATE_SABOTAGE (:sabotage test)))}
                    (str (dir node) "/quorated") :run :--config (str (dir node) "/node.toml")))

(defn- signal! [node signal]
  (when (cu/exists? (pid-file node))
    (c/exec :kill signal (c/exec :cat (pid-file node)))))

(defn- until! [what f]
  (loop [left 120]
    (cond (f) true
          (zero? left) (throw (IllegalStateException. (str "in vain: " what)))
          :else (do (Thread/sleep 500) (recur (dec left))))))

(defn- form!
  "The first three nodes are the cluster; the rest are spare, for the membership nemesis."
  [test]
  (let [voters (fleet/nodes test)
        init (mapcat (fn [node] ["--member" (member test node)]) voters)]
    (until! "the cluster is formed" #(zero? (:exit (apply ctl/call test [(first voters)] "cluster" "init" init))))
    (until! "somebody leads" #(ctl/leader test voters))
    (doseq [service (keys world/services)
            :let [file (io/file (:pki test) (str service ".toml"))]]
      (spit file (service-file test service))
      (until! (str service " is applied")
              #(zero? (:exit (ctl/call test voters "service" "apply" (.getCanonicalPath file)))))
      (until! (str service " serves")
              #(let [verdict (get-in (ctl/call test voters "verdict" "get" service) [:json :verdict])]
                 (and (= "serving" (:phase verdict)) (every? (comp #{"up"} :verdict) (:regions verdict))))))))

(defn- install!
  "Puts a node with a number there, with an empty store, and starts it."
  [test node]
  (let [number (str (fleet/number test node))]
    (remote/sh! (quoratectl test) "pki" "issue" (:pki test) "--node-id" number "--days" "2")
    (doseq [[from to] [["ca.crt" "ca.crt"] [(str "node-" number ".crt") "node.crt"] [(str "node-" number ".key") "node.key"]]]
      (c/upload (str (:pki test) "/" from) (str (dir node) "/" to)))
    (c/upload (str (:binaries test) "/quorated") (str (dir node) "/quorated"))
    (c/exec :chmod "600" (str (dir node) "/node.key"))
    (write-file! (configuration test node) (str (dir node) "/node.toml"))
    (c/exec :env (str "QUORATE_TSIG=" world/key-secret) (str (dir node) "/quorated") :init :--config (str (dir node) "/node.toml"))
    (start-node! test node)))

(defn enlist! "A node comes, with a new number and an empty store; it is no member yet." [test node]
  (fleet/enlist! test node)
  (locking (:world test) (install! test node)))

(defn discharge! "A node goes, and its store with it; its log is kept under its number." [test node]
  (let [number (fleet/number test node)]
    (cu/stop-daemon! (pid-file node))
    (c/exec :rm :-rf (str (dir node) "/data"))
    (c/exec :mv (log-file node) (str (log-file node) "-" number))
    (fleet/discharge! test node)))

(defrecord Quorate []
  db/DB
  (setup! [_ test node]
    (c/exec :mkdir :-p (dir node))
    (locking (:world test)
      (pki! test)
      (when (fleet/number test node)
        (install! test node)))
    (jepsen/synchronize test)
    (when (= node (first (:nodes test)))
      (form! test))
    (jepsen/synchronize test 180)
    (info node "runs quorated" (or (fleet/number test node) "later")))

  (teardown! [_ _test node]
    (cu/stop-daemon! (pid-file node))
    (c/exec :rm :-rf (dir node)))

  db/Kill
  (kill! [_ _test node] (cu/stop-daemon! (pid-file node)) :killed)
  (start! [_ test node] (start-node! test node))

  db/Pause
  (pause! [_ _test node] (signal! node :-STOP) :paused)
  (resume! [_ _test node] (signal! node :-CONT) :resumed)

  db/Primary
  (primaries [_ test] (keep identity [(ctl/leader test (fleet/nodes test))]))
  (setup-primary! [_ _test _node])

  db/LogFiles
  (log-files [_ _test node]
    (into {} (for [name (str/split-lines (c/exec :ls (dir node))) :when (str/starts-with? name "log")]
               [(str (dir node) "/" name) (str "quorated" (subs name 3) ".log")]))))
