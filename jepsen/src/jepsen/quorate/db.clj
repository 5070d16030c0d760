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
            [jepsen.quorate.remote :as remote]
            [jepsen.quorate.world :as world]))

(defn dir [node] (str "/opt/quorate-jepsen/" node))
(defn pid-file [node] (str (dir node) "/pid"))
(defn log-file [node] (str (dir node) "/log"))
(defn number [test node] (inc (.indexOf ^java.util.List (:nodes test) node)))
(defn member [test node] (str (number test node) "=" node "@" (ctl/endpoint test node)))

(defn configuration [test node]
  (let [{:keys [ip witness nameserver controls]} @(:world test)
        home (dir node)
        address (ctl/endpoint test node)]
    (str "[node]\ncluster = '" world/cluster "'\nid = " (number test node) "\nsite = '" node "'\ndata = '" home "/data'\n"
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

(defn- pki! [test]
  (let [pki (:pki test)
        ctl (str (:binaries test) "/quoratectl")
        run (fn [& words] (apply remote/sh! ctl "pki" words))]
    (when-not (.exists (io/file pki "ca.crt"))
      (run "init" pki "--cluster" world/cluster "--days" "2")
      (run "issue" pki "--person" "jepsen" "--role" "admin" "--days" "2")
      (doseq [node (:nodes test)]
        (run "issue" pki "--node-id" (str (number test node)) "--days" "2")))))

(defn- write-file! [text remote-path]
  (let [file (java.io.File/createTempFile "quorate" ".toml")]
    (spit file text)
    (c/upload (.getCanonicalPath file) remote-path)
    (.delete file)))

(defn start-node! [node]
  (cu/start-daemon! {:logfile (log-file node) :pidfile (pid-file node) :chdir (dir node) :match-executable? false
                     :env {:QUORATE_TSIG world/key-secret
                           :RUST_LOG "warn,openraft=error,quorate=info,quorate::node::reporter=debug"}}
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
  "The first three nodes are the cluster; the rest wait for the membership workload."
  [test]
  (let [voters (take 3 (:nodes test))
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

(defrecord Quorate []
  db/DB
  (setup! [_ test node]
    (locking (:world test) (pki! test))
    (c/exec :mkdir :-p (dir node))
    (doseq [[from to] [["ca.crt" "ca.crt"] [(str "node-" (number test node) ".crt") "node.crt"]
                       [(str "node-" (number test node) ".key") "node.key"]]]
      (c/upload (str (:pki test) "/" from) (str (dir node) "/" to)))
    (c/upload (str (:binaries test) "/quorated") (str (dir node) "/quorated"))
    (c/exec :chmod "600" (str (dir node) "/node.key"))
    (write-file! (configuration test node) (str (dir node) "/node.toml"))
    (c/exec :env (str "QUORATE_TSIG=" world/key-secret) (str (dir node) "/quorated") :init :--config (str (dir node) "/node.toml"))
    (start-node! node)
    (jepsen/synchronize test)
    (when (= node (first (:nodes test)))
      (form! test))
    (jepsen/synchronize test 180)
    (info node "runs quorated" (number test node)))

  (teardown! [_ _test node]
    (cu/stop-daemon! (pid-file node))
    (c/exec :rm :-rf (dir node)))

  db/Kill
  (kill! [_ _test node] (cu/stop-daemon! (pid-file node)) :killed)
  (start! [_ _test node] (start-node! node))

  db/Pause
  (pause! [_ _test node] (signal! node :-STOP) :paused)
  (resume! [_ _test node] (signal! node :-CONT) :resumed)

  db/Primary
  (primaries [_ test] (keep identity [(ctl/leader test (:nodes test))]))
  (setup-primary! [_ _test _node])

  db/LogFiles
  (log-files [_ _test node] {(log-file node) "quorated.log"}))
