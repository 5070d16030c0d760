(ns jepsen.quorate.world
  "What is outside the cluster and on the control node: the witness, the DNS server behind it, the regions, the log of truths.

  The log has raw nanoseconds of this JVM; `jepsen.quorate.checker` brings them on Jepsen's clock."
  (:require [clojure.java.io :as io]
            [clojure.string :as str]
            [jepsen.quorate.remote :as remote]
            [quorate.regions :as regions]
            [quorate.witness :as witness])
  (:import (java.util.concurrent TimeUnit)))

(def cluster "jepsen")
(def zone "example.test")
(def key-name "quorate-key")
(def key-secret "bm90IGEgc2VjcmV0OiBhIHRlc3Qga2V5LCAzMiBieXQ=")

(def services
  "By name: the regions in order of preference, each with its value. `app` fails over, `reg` is switched by hand."
  {"app" [["west" "192.0.2.10"] ["east" "192.0.2.20"]]
   "reg" [["north" "192.0.2.30"] ["south" "192.0.2.40"]]})

(def policy {:interval-ms 1000 :timeout-ms 600 :fall 3 :rise 2 :cooldown-ms 5000 :ttl-ms 5000 :reconcile-ms 5000})

(defn site
  "A node is its own site, named as sites may be: an address or a name with dots is none."
  [node]
  (str/replace (str/lower-case node) #"[^a-z0-9]" "-"))

(defn setup
  "The first operation of the history: what the checkers must know."
  [test]
  (let [{:keys [interval-ms timeout-ms fall cooldown-ms ttl-ms reconcile-ms]} policy
        floor (+ (* (dec fall) interval-ms) timeout-ms)]
    {:cluster cluster
     :sites (into (sorted-map) (map-indexed (fn [i node] [(inc i) (site node)]) (take 3 (:nodes test))))
     :lease-ms 2000 :slack-ms 3000 :grace-ms 10000
     :services (into {} (for [[name regions] services]
                          [name {:grade :A :values (into {} (for [[region value] regions] [region [value]]))
                                 :budget 100 :budget-window-ms 3600000 :cooldown-ms (if (= "reg" name) 1000 cooldown-ms)
                                 :ttl-ms ttl-ms :reconcile-ms reconcile-ms :window-ms 60000
                                 :least-dead-ms (- (* (dec fall) interval-ms) 500) :bound-ms (+ (* 2 floor) 3000)
                                 :register (when (= "reg" name) [1 (ffirst regions)])}]))}))

(defn truth!
  "The nemesis says what it did, for the checkers."
  [world f value]
  (swap! (:log world) conj {:nanos (System/nanoTime) :process :nemesis :type :info :f f :value value}))

(defn member!
  "A change of members, which is the nemesis's to ask for and a client's operation in the history."
  [world type value]
  (swap! (:log world) conj {:nanos (System/nanoTime) :process -1 :type type :f :member :value value}))

(defn- named-conf [dir ip port]
  (str "options { directory \"" dir "\"; listen-on port " port " { " ip "; }; listen-on-v6 { none; }; pid-file \"" dir "/pid\";\n"
       "session-keyfile \"" dir "/session.key\"; managed-keys-directory \"" dir "\"; recursion no; dnssec-validation no; notify no; };\n"
       "controls { };\nkey \"" key-name "\" { algorithm hmac-sha256; secret \"" key-secret "\"; };\n"
       "zone \"" zone "\" { type primary; file \"" dir "/zone.db\"; update-policy { "
       (str/join " " (for [service (keys services)]
                       (str "grant " key-name " name " service "." zone ". A; grant " key-name " name _quorate." service "." zone ". TXT;")))
       " }; };\n"))

(defn- start-named! [dir ip port]
  (.mkdirs (io/file dir))
  (spit (io/file dir "zone.db") (str "$ORIGIN " zone ".\n$TTL 300\n@ SOA ns1 hostmaster 1 3600 900 604800 300\n@ NS ns1\nns1 A " ip "\n"))
  (spit (io/file dir "conf") (named-conf dir ip port))
  (-> (ProcessBuilder. ^java.util.List ["named" "-g" "-n" "1" "-c" (str dir "/conf")])
      (.redirectErrorStream true)
      (.redirectOutput (io/file dir "log"))
      (.start)))

(defn start!
  "Starts everything on an address that the nodes reach. `node-of` turns a node's address into its number."
  [{:keys [ip dir node-of]}]
  (let [log (atom [])
        port 15353]
    {:ip ip
     :log log
     :origin (atom nil)
     :named (start-named! dir ip port)
     :nameserver (str ip ":" port)
     :witness (witness/start! {:port 0 :upstream [ip port] :cluster cluster :node-of node-of :log log})
     :regions (into {} (for [[service regions] services [region _] regions]
                         [[service region] (regions/start! region)]))
     :controls (mapv regions/start! ["one" "two" "three"])}))

(defn stop! [{:keys [^Process named witness regions controls]}]
  (witness/stop! witness)
  (run! regions/stop! (concat (vals regions) controls))
  (.destroy named)
  (when-not (.waitFor named 5 TimeUnit/SECONDS)
    (.destroyForcibly named)))

(defn standing "What a service's record is, as the witness knows." [world service]
  (get @(:standing (:witness world)) service))

(defn region-of "The region that has the values." [service values]
  (some (fn [[region value]] (when (= [value] values) region)) (get services service)))

(defn gateway-of "Where the nodes find the control node." [test]
  (or (:control-address test) remote/gateway))
